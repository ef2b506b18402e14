#include "engine/sampler.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <optional>

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

// Where `id` stands in `logits`; nullopt: nowhere.
std::optional<size_t> PlaceOf(TokenId id, const Logits& logits) {
  if (logits.ids.empty()) return static_cast<size_t>(id);
  const auto it = std::lower_bound(logits.ids.begin(), logits.ids.end(), id);
  if (it == logits.ids.end() || *it != id) return std::nullopt;
  return static_cast<size_t>(it - logits.ids.begin());
}

using Candidate = SamplerScratch::Candidate;

double SumOfWeights(const std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += candidate.weight;
  return sum;
}

bool Likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// Candidates among scaled logits.
class CandidateGatherer {
 public:
  CandidateGatherer(const Logits& logits, std::span<const float> scores, size_t best, float scale,
                    std::vector<Candidate>* candidates)
      : logits_(logits),
        scores_(scores),
        scale_(scale),
        largest_(scores[best] * scale),
        candidates_(*candidates) {}

  // The sum of all tokens' weights.
  double TotalWeight() const { return SumOfExp(scores_, scale_, largest_); }

  // Those whose logit is at most `distance` below the largest.
  void GatherWithin(float distance) {
    const float least = largest_ - distance;
    candidates_.clear();
    for (size_t i = 0; i < scores_.size(); ++i) {
      const float logit = scores_[i] * scale_;
      if (logit < least) continue;
      candidates_.push_back({logits_.IdAt(i), logit, FastExp(logit - largest_)});
    }
  }

  // So many of the most likely ones at least, with so much mass. Few tokens usually hold the mass,
  // so those near the largest logit are tried first, and the rest is never sorted.
  void GatherMostLikely(size_t min_count, double min_mass) {
    for (float distance = 4.0f;; distance *= 2.0f) {
      GatherWithin(distance < 100.0f ? distance : INFINITY);
      if (candidates_.size() == scores_.size()) return;
      if (candidates_.size() >= min_count && SumOfWeights(candidates_) >= min_mass) return;
    }
  }

 private:
  const Logits& logits_;
  const std::span<const float> scores_;
  const float scale_;
  const float largest_;
  std::vector<Candidate>& candidates_;
};

// The smallest set of most likely tokens whose mass reaches `wanted`, of candidates in order.
void KeepMass(double wanted, std::vector<Candidate>& candidates) {
  double mass = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    mass += candidates[i].weight;
    if (mass < wanted) continue;
    candidates.resize(i + 1);
    return;
  }
}

}  // namespace

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

Sampler::Scores Sampler::Process(const Logits& logits, SamplerScratch& scratch) const {
  if (!changes_logits()) return {logits.values, logits.scan.best};
  std::vector<float>& scores = scratch.scores;
  scores.assign(logits.values.begin(), logits.values.end());
  for (const auto& [id, bias] : params_.logit_bias) {
    if (const std::optional<size_t> place = PlaceOf(id, logits)) scores[*place] += bias;
  }
  for (const auto& [id, count] : counts_.entries()) {
    const std::optional<size_t> place = PlaceOf(id, logits);
    if (!place) continue;
    float& logit = scores[*place];
    logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
    if (count.generated == 0) continue;
    logit -=
        params_.presence_penalty + params_.frequency_penalty * static_cast<float>(count.generated);
  }
  return {scores, ScanLogits(scores).best};
}

TokenId Sampler::Choose(const Logits& logits, int64_t position, SamplerScratch& scratch) const {
  assert(mode_ != Mode::kUnseeded);
  if (mode_ == Mode::kGreedy) return logits.IdAt(Process(logits, scratch).best);
  return GumbelMax(Truncate(logits, scratch),
                   GumbelNoise(*params_.seed, static_cast<uint32_t>(sample_index_), position));
}

Distribution Sampler::Warp(const Logits& logits, SamplerScratch& scratch) const {
  if (mode_ != Mode::kGreedy) return Truncate(logits, scratch).distribution;
  scratch.ids.assign(1, logits.IdAt(Process(logits, scratch).best));
  scratch.weights.assign(1, 1.0f);
  return {scratch.ids, scratch.weights, 1.0};
}

// The candidate with the largest sum of logit and noise. A candidate can win only if its noise
// exceeds the lead of the best so far, -log(-log(u)) > lead. As -log(u) >= 1 - u, that needs
// 1 - u < exp(-lead), which spares most of them the logarithms.
TokenId Sampler::GumbelMax(const Support& support, const GumbelNoise& noise) const {
  constexpr double kSlack = 1.0 + 1e-4;  // beyond FastExp's error
  const Distribution& distribution = support.distribution;
  const float largest = support.logits[support.best] * support.scale;
  TokenId best = distribution.IdAt(support.best);
  double best_score = largest + GumbelNoise::FromUniform(noise.Uniform(best));
  double bound = kSlack * std::exp(largest - best_score);
  for (size_t i = 0; i < distribution.size(); ++i) {
    const TokenId id = distribution.IdAt(i);
    const double u = noise.Uniform(id);
    if (1.0 - u >= distribution.weights[i] * bound) continue;
    const double score = support.logits[i] * support.scale + GumbelNoise::FromUniform(u);
    if (score > best_score) {
      best_score = score;
      best = id;
      bound = kSlack * std::exp(largest - best_score);
    }
  }
  return best;
}

Sampler::Support Sampler::Truncate(const Logits& logits, SamplerScratch& scratch) const {
  const Scores scores = Process(logits, scratch);
  if (params_.top_k == 0 && params_.top_p == 1.0f && params_.min_p == 0.0f) {
    const float scale = 1.0f / params_.temperature;
    scratch.weights.resize(scores.values.size());
    const double total =
        ExpWeights(scores.values, scale, scores.values[scores.best] * scale, scratch.weights);
    return {{logits.ids, scratch.weights, total}, scores.values, scale, scores.best};
  }
  GatherCandidates(logits, scores, scratch);
  std::vector<Candidate>& candidates = scratch.candidates;
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  scratch.ids.clear();
  scratch.logits.clear();
  scratch.weights.clear();
  for (const Candidate& candidate : candidates) {
    scratch.ids.push_back(candidate.id);
    scratch.logits.push_back(candidate.logit);
    scratch.weights.push_back(candidate.weight);
  }
  return {{scratch.ids, scratch.weights, SumOfWeights(candidates)},
          scratch.logits,
          1.0f,
          ScanLogits(scratch.logits).best};
}

void Sampler::GatherCandidates(const Logits& logits, const Scores& scores,
                               SamplerScratch& scratch) const {
  std::vector<Candidate>& candidates = scratch.candidates;
  CandidateGatherer gatherer(logits, scores.values, scores.best, 1.0f / params_.temperature,
                             &candidates);
  const float top_p = params_.top_p;
  if (params_.top_k > 0) {
    const size_t count = std::min(scores.values.size(), static_cast<size_t>(params_.top_k));
    gatherer.GatherMostLikely(count, 0);
    // What top-k cuts off needs no order, and where logits are close that is nearly all.
    std::partial_sort(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(count),
                      candidates.end(), Likelier);
    candidates.resize(count);
    if (top_p < 1.0f) KeepMass(SumOfWeights(candidates) * top_p, candidates);
  } else if (top_p < 1.0f) {
    const double wanted = gatherer.TotalWeight() * top_p;
    gatherer.GatherMostLikely(1, wanted);
    std::sort(candidates.begin(), candidates.end(), Likelier);
    KeepMass(wanted, candidates);
  } else {
    // A little further than any that is kept.
    gatherer.GatherWithin(1e-3f - std::log(params_.min_p));
  }
  // The largest weight is 1.
  std::erase_if(candidates, [this](const Candidate& c) { return c.weight < params_.min_p; });
}

float ProbabilityOf(TokenId id, const Logits& logits) {
  const float largest = logits.scan.largest;
  const double total = SumOfExp(logits.values, 1.0f, largest);
  return static_cast<float>(FastExp(logits.values[*PlaceOf(id, logits)] - largest) / total);
}

TokenLogprobs ComputeLogprobs(const Logits& logits, TokenId chosen, int num_top) {
  const std::span<const float> values = logits.values;
  const float largest = logits.scan.largest;
  const double log_total = std::log(SumOfExp(values, 1.0f, largest)) + largest;
  const auto logprob = [&](TokenId id) { return static_cast<float>(values[id] - log_total); };

  TokenLogprobs result{chosen, logprob(chosen), chosen == logits.best_id(), {}};
  const size_t count = std::min(values.size(), static_cast<size_t>(num_top));
  if (count == 0) return result;
  // The likeliest so far, most likely first: few tokens get past the last of them.
  std::vector<TokenId> top;
  top.reserve(count + 1);
  for (TokenId id = 0; id < static_cast<TokenId>(values.size()); ++id) {
    if (top.size() == count && values[id] <= values[top.back()]) continue;
    const auto place =
        std::upper_bound(top.begin(), top.end(), values[id],
                         [&](float value, TokenId other) { return value > values[other]; });
    top.insert(place, id);
    if (top.size() > count) top.pop_back();
  }
  for (const TokenId id : top) result.top.push_back({id, logprob(id)});
  return result;
}

}  // namespace strata
