#include "engine/sampler.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <iterator>

#include "engine/softmax.h"

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
  for (const auto& [id, bias] : params_.logit_bias) {
    if (float* const logit = ProcessedLogit(id)) *logit += bias;
  }
  if (!has_penalties_) return;
  for (const auto& [id, count] : counts_.entries()) {
    float* const found = ProcessedLogit(id);
    if (found == nullptr) continue;
    float& logit = *found;
    logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
    if (count.generated == 0) continue;
    logit -=
        params_.presence_penalty + params_.frequency_penalty * static_cast<float>(count.generated);
  }
}

float* Sampler::ProcessedLogit(TokenId id) {
  if (ids_.empty()) return &processed_[id];
  const auto it = std::lower_bound(ids_.begin(), ids_.end(), id);
  return it != ids_.end() && *it == id ? &processed_[it - ids_.begin()] : nullptr;
}

TokenId Sampler::Choose(std::span<const float> logits, int64_t position,
                        std::span<const TokenId> ids) {
  assert(mode_ != Mode::kUnseeded);
  ids_ = ids;
  // Greedy without anything to apply needs no copy.
  if (mode_ == Mode::kGreedy && !has_penalties_ && params_.logit_bias.empty()) {
    return TokenAt(ArgmaxOf(logits));
  }
  Process(logits);
  if (mode_ == Mode::kGreedy) return TokenAt(ArgmaxOf(processed_));
  Truncate();
  return GumbelMax(GumbelNoise(*params_.seed, static_cast<uint32_t>(sample_index_), position));
}

// The candidate with the largest sum of logit and noise. A candidate can win only if its noise
// exceeds the lead of the best so far, -log(-log(u)) > lead. As -log(u) >= 1 - u, that needs
// 1 - u < exp(-lead), which spares most of them the logarithms.
TokenId Sampler::GumbelMax(const GumbelNoise& noise) const {
  constexpr double kSlack = 1.0 + 1e-4;  // beyond FastExp's error
  const auto likeliest =
      std::max_element(candidates_.begin(), candidates_.end(),
                       [](const Candidate& a, const Candidate& b) { return a.logit < b.logit; });
  TokenId best = likeliest->id;
  double best_score = likeliest->logit + GumbelNoise::FromUniform(noise.Uniform(best));
  double bound = kSlack * std::exp(likeliest->logit - best_score);
  for (const Candidate& candidate : candidates_) {
    const double u = noise.Uniform(candidate.id);
    if (1.0 - u >= candidate.weight * bound) continue;
    const double score = candidate.logit + GumbelNoise::FromUniform(u);
    if (score > best_score) {
      best_score = score;
      best = candidate.id;
      bound = kSlack * std::exp(likeliest->logit - best_score);
    }
  }
  return best;
}

Distribution Sampler::Warp(std::span<const float> logits, std::span<const TokenId> ids) {
  ids_ = ids;
  Process(logits);
  Distribution distribution;
  if (mode_ == Mode::kGreedy) {
    distribution.ids = {TokenAt(ArgmaxOf(processed_))};
    distribution.probs = {1.0};
    return distribution;
  }
  Truncate();
  const double total = SumOfWeights();
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
  const float largest = processed_[ArgmaxOf(processed_)];
  weights_.resize(processed_.size());
  const double total = ExpWeights(processed_, largest, weights_);
  const float least = params_.min_p;  // the largest weight is 1
  candidates_.clear();
  if (params_.top_k == 0 && params_.top_p == 1.0f) {
    for (size_t i = 0; i < processed_.size(); ++i) {
      if (weights_[i] < least) continue;
      candidates_.push_back({TokenAt(i), processed_[i], weights_[i]});
    }
    return;
  }
  GatherMostLikely(largest, total);
  if (params_.top_k > 0 && candidates_.size() > static_cast<size_t>(params_.top_k)) {
    candidates_.resize(params_.top_k);
  }
  if (params_.top_p < 1.0f) KeepTopP(params_.top_k > 0 ? SumOfWeights() : total);
  std::erase_if(candidates_, [least](const Candidate& c) { return c.weight < least; });
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
}

// Few tokens usually hold the mass, so those near the largest logit are tried first, and the rest
// is never sorted.
void Sampler::GatherMostLikely(float largest, double total) {
  const size_t min_count =
      params_.top_k > 0 ? std::min(processed_.size(), static_cast<size_t>(params_.top_k)) : 1;
  // Top-k alone decides how many are needed, if it is on.
  const double min_mass = params_.top_k > 0 ? 0.0 : total * params_.top_p;
  for (float distance = 4.0f;; distance *= 2.0f) {
    const float least = distance < 100.0f ? largest - distance : -INFINITY;
    candidates_.clear();
    double mass = 0;
    for (size_t i = 0; i < processed_.size(); ++i) {
      if (processed_[i] < least) continue;
      candidates_.push_back({TokenAt(i), processed_[i], weights_[i]});
      mass += weights_[i];
    }
    const bool enough = candidates_.size() >= min_count && mass >= min_mass;
    if (enough || candidates_.size() == processed_.size()) break;
  }
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  if (params_.top_k == 0) {
    std::sort(candidates_.begin(), candidates_.end(), likelier);
    return;
  }
  // What top-k cuts off needs no order, and where logits are close that is nearly all.
  const auto cut = candidates_.begin() + static_cast<ptrdiff_t>(min_count);
  std::partial_sort(candidates_.begin(), cut, candidates_.end(), likelier);
}

double Sampler::SumOfWeights() const {
  double sum = 0;
  for (const Candidate& candidate : candidates_) sum += candidate.weight;
  return sum;
}

// The smallest set of most likely tokens whose mass reaches top_p of `total`.
void Sampler::KeepTopP(double total) {
  const double wanted = total * params_.top_p;
  double mass = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    mass += candidates_[i].weight;
    if (mass < wanted) continue;
    candidates_.resize(i + 1);
    return;
  }
}

TokenLogprobs ComputeLogprobs(std::span<const float> logits, TokenId chosen, int num_top) {
  const TokenId best = ArgmaxOf(logits);
  const double log_total = std::log(SumOfExp(logits, logits[best])) + logits[best];
  const auto logprob = [&](TokenId id) { return static_cast<float>(logits[id] - log_total); };

  TokenLogprobs result{chosen, logprob(chosen), chosen == best, {}};
  if (num_top == 0) return result;
  std::vector<TokenId> ids(logits.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i);
  const size_t count = std::min(ids.size(), static_cast<size_t>(num_top));
  std::partial_sort(
      ids.begin(), ids.begin() + static_cast<ptrdiff_t>(count), ids.end(),
      [&](TokenId a, TokenId b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  for (size_t i = 0; i < count; ++i) result.top.push_back({ids[i], logprob(ids[i])});
  return result;
}

}  // namespace strata
