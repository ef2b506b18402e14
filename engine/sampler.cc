#include "engine/sampler.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <iterator>

#include "engine/fast_exp.h"

namespace strata {
namespace {

bool HasPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
         params.frequency_penalty != 0.0f;
}

Sampler::Mode ModeOf(const SamplingParams& params) {
  if (params.temperature == 0.0f) return Sampler::Mode::kGreedy;
  return params.seed ? Sampler::Mode::kSeeded : Sampler::Mode::kUnseeded;
}

}  // namespace

double Distribution::Probability(TokenId id) const {
  const auto it = std::lower_bound(ids.begin(), ids.end(), id);
  return it != ids.end() && *it == id ? probs[it - ids.begin()] : 0.0;
}

TokenId SampleFrom(const Distribution& distribution, double u) {
  assert(!distribution.ids.empty());
  double cumulative = 0;
  for (size_t i = 0; i < distribution.ids.size(); ++i) {
    cumulative += distribution.probs[i];
    if (u < cumulative) return distribution.ids[i];
  }
  // Rounding left the sum just below u: the last token that can occur at all.
  for (size_t i = distribution.ids.size(); i-- > 0;) {
    if (distribution.probs[i] > 0) return distribution.ids[i];
  }
  return distribution.ids.back();
}

void TokenCounts::Remove(TokenId id) {
  const auto it = entries_.find(id);
  assert(it != entries_.end() && it->second.generated > 0);
  if (--it->second.generated == 0 && it->second.in_prompt == 0) entries_.erase(it);
}

Sampler::Sampler(const SamplingParams& params, int sample_index, std::span<const TokenId> prompt)
    : params_(params),
      sample_index_(sample_index),
      mode_(ModeOf(params)),
      has_penalties_(HasPenalties(params)) {
  if (!has_penalties_) return;
  for (const TokenId id : prompt) counts_.AddPrompt(id);
}

void Sampler::Push(TokenId id) {
  if (has_penalties_) counts_.Add(id);
}

void Sampler::Pop(TokenId id) {
  if (has_penalties_) counts_.Remove(id);
}

void Sampler::Process(std::span<const float> logits) {
  processed_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : params_.logit_bias) processed_[id] += bias;
  if (!has_penalties_) return;
  for (const auto& [id, count] : counts_.entries()) {
    float& logit = processed_[id];
    logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
    if (count.generated == 0) continue;
    logit -= params_.presence_penalty +
             params_.frequency_penalty * static_cast<float>(count.generated);
  }
}

TokenId Sampler::Argmax() const { return ArgmaxOf(processed_); }

TokenId Sampler::Choose(std::span<const float> logits, int64_t position) {
  assert(mode_ != Mode::kUnseeded);
  // Greedy without anything to apply needs no copy.
  if (mode_ == Mode::kGreedy && !has_penalties_ && params_.logit_bias.empty()) {
    return ArgmaxOf(logits);
  }
  Process(logits);
  if (mode_ == Mode::kGreedy) return Argmax();
  Truncate();
  const GumbelNoise noise(*params_.seed, static_cast<uint32_t>(sample_index_), position);
  TokenId best = candidates_.front().id;
  double best_score = -INFINITY;
  for (const Candidate& candidate : candidates_) {
    const double score = candidate.logit + noise.At(candidate.id);
    if (score > best_score) {
      best_score = score;
      best = candidate.id;
    }
  }
  return best;
}

Distribution Sampler::Warp(std::span<const float> logits) {
  Process(logits);
  Distribution distribution;
  if (mode_ == Mode::kGreedy) {
    distribution.ids = {Argmax()};
    distribution.probs = {1.0};
    return distribution;
  }
  Truncate();
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  distribution.ids.reserve(candidates_.size());
  distribution.probs.reserve(candidates_.size());
  for (const Candidate& candidate : candidates_) {
    distribution.ids.push_back(candidate.id);
    distribution.probs.push_back(candidate.weight / total);
  }
  return distribution;
}

void Sampler::Truncate() {
  const float scale = 1.0f / params_.temperature;
  for (float& logit : processed_) logit *= scale;
  const float largest = processed_[Argmax()];
  candidates_.resize(processed_.size());
  for (size_t i = 0; i < processed_.size(); ++i) {
    candidates_[i] = {static_cast<TokenId>(i), processed_[i], 0.0};
  }
  for (Candidate& candidate : candidates_) candidate.weight = FastExp(candidate.logit - largest);
  const bool reorders = params_.top_k > 0 || params_.top_p < 1.0f;
  if (params_.top_k > 0) KeepTopK();
  if (params_.top_p < 1.0f) KeepTopP();
  if (params_.min_p > 0.0f) KeepMinP();
  if (!reorders) return;
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
}

// Puts the `count` most likely candidates first, in order; ties by lower id.
void Sampler::SortMostLikelyFirst(size_t count) {
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(count),
                    candidates_.end(), [](const Candidate& a, const Candidate& b) {
                      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
                    });
}

void Sampler::KeepTopK() {
  const size_t count = std::min(candidates_.size(), static_cast<size_t>(params_.top_k));
  SortMostLikelyFirst(count);
  candidates_.resize(count);
}

// The smallest set of most likely tokens whose mass reaches top_p.
void Sampler::KeepTopP() {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  const double wanted = total * params_.top_p;
  // Few tokens usually hold the mass: sort as many as it takes, not all.
  for (size_t sorted = std::min<size_t>(32, candidates_.size());;
       sorted = std::min(sorted * 8, candidates_.size())) {
    SortMostLikelyFirst(sorted);
    double mass = 0;
    for (size_t i = 0; i < sorted; ++i) {
      mass += candidates_[i].weight;
      if (mass >= wanted || i + 1 == candidates_.size()) {
        candidates_.resize(i + 1);
        return;
      }
    }
  }
}

// The largest weight is 1 by construction.
void Sampler::KeepMinP() {
  std::erase_if(candidates_, [this](const Candidate& candidate) {
    return candidate.weight < params_.min_p;
  });
}

TokenLogprobs ComputeLogprobs(std::span<const float> logits, TokenId chosen, int num_top) {
  const TokenId best = ArgmaxOf(logits);
  double total = 0;
  for (const float logit : logits) total += FastExp(logit - logits[best]);
  const double log_total = std::log(total) + logits[best];
  const auto logprob = [&](TokenId id) { return static_cast<float>(logits[id] - log_total); };

  TokenLogprobs result{chosen, logprob(chosen), chosen == best, {}};
  if (num_top == 0) return result;
  std::vector<TokenId> ids(logits.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i);
  const size_t count = std::min(ids.size(), static_cast<size_t>(num_top));
  std::partial_sort(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(count), ids.end(),
                    [&](TokenId a, TokenId b) {
                      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
                    });
  for (size_t i = 0; i < count; ++i) result.top.push_back({ids[i], logprob(ids[i])});
  return result;
}

TokenId ArgmaxOf(std::span<const float> logits) {
  TokenId best = 0;
  float largest = logits[0];
  for (size_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > largest) {
      largest = logits[i];
      best = static_cast<TokenId>(i);
    }
  }
  return best;
}

}  // namespace strata
