// From a row of logits to a token.

#ifndef STRATA_ENGINE_SAMPLER_H_
#define STRATA_ENGINE_SAMPLER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/distribution.h"
#include "engine/random.h"
#include "engine/request.h"
#include "engine/softmax.h"

namespace strata {

// A row of logits of the whole vocabulary, or of the tokens `ids` alone. Looks through them once,
// for all that follows. A view.
struct Logits {
  explicit Logits(std::span<const float> values, std::span<const TokenId> ids = {})
      : values(values), ids(ids), scan(ScanLogits(values)) {}

  TokenId IdAt(size_t i) const { return ids.empty() ? static_cast<TokenId>(i) : ids[i]; }
  TokenId best_id() const { return IdAt(scan.best); }

  std::span<const float> values;  // [vocab_size], or [ids.size()]
  std::span<const TokenId> ids;   // ascending; empty: of all tokens
  LogitScan scan;
};

// How often each token has occurred, for the penalties. Drafted tokens are
// added while they are assumed and removed when they are not committed.
class TokenCounts {
 public:
  struct Entry {
    int in_prompt = 0;
    int generated = 0;
  };

  void AddPrompt(TokenId id) { ++entries_[id].in_prompt; }
  void Add(TokenId id) { ++entries_[id].generated; }
  void Remove(TokenId id);
  const std::unordered_map<TokenId, Entry>& entries() const { return entries_; }

 private:
  std::unordered_map<TokenId, Entry> entries_;
};

// Memory for one row at a time, which any samplers of one thread may share.
struct SamplerScratch {
  // A token that truncation may leave.
  struct Candidate {
    TokenId id;
    float logit;   // after penalties and temperature
    float weight;  // exp(logit - largest)
  };
  std::vector<float> scores;  // logits after bias and penalties
  std::vector<Candidate> candidates;
  std::vector<TokenId> ids;
  std::vector<float> logits;
  std::vector<float> weights;
};

// Turns logits into choices for one sample of one request. The same object
// serves drafting and verification, so both see the same transformations.
// Bias and penalties of tokens that a row has no logits of have no effect.
class Sampler {
 public:
  // How the next token is determined.
  enum class Mode {
    kGreedy,   // the most likely token
    kSeeded,   // Gumbel-max with noise keyed by (seed, sample index, position, token)
    kUnseeded  // a draw from Warp's distribution
  };

  Sampler(const SamplingParams& params, int sample_index, std::span<const TokenId> prompt);

  Mode mode() const { return mode_; }
  const SamplingParams& params() const { return params_; }
  int sample_index() const { return sample_index_; }
  // What penalties count: the prompt and what was pushed. Empty without penalties.
  const TokenCounts& counts() const { return counts_; }
  // Records a token that is committed, or drafted and assumed for the time being.
  void Push(TokenId id);
  // Takes back the newest Push of `id`.
  void Pop(TokenId id);

  // kGreedy and kSeeded: the token at absolute `position`. REQUIRES: finite logits.
  TokenId Choose(const Logits& logits, int64_t position, SamplerScratch& scratch) const;
  // The distribution of the next token after penalties, temperature and
  // truncation, valid while neither `logits` nor `scratch` changes. Greedy gives all mass to one
  // token. Where nothing is truncated, its ids are those of `logits`. REQUIRES: finite logits.
  Distribution Warp(const Logits& logits, SamplerScratch& scratch) const;

 private:
  // Logits after bias and penalties.
  struct Scores {
    std::span<const float> values;
    size_t best = 0;
  };
  // What truncation leaves.
  struct Support {
    Distribution distribution;
    std::span<const float> logits;  // of its tokens; times `scale` after temperature
    float scale = 1;
    size_t best = 0;  // where the largest stands
  };

  bool changes_logits() const { return has_penalties_ || !params_.logit_bias.empty(); }
  Scores Process(const Logits& logits, SamplerScratch& scratch) const;
  Support Truncate(const Logits& logits, SamplerScratch& scratch) const;
  // Fills candidates with what top-k, top-p and min-p leave, in any order.
  void GatherCandidates(const Logits& logits, const Scores& scores, SamplerScratch& scratch) const;
  TokenId GumbelMax(const Support& support, const GumbelNoise& noise) const;

  const SamplingParams params_;
  const int sample_index_;
  const Mode mode_;
  const bool has_penalties_;
  TokenCounts counts_;
};

// The probability of `id`, one of their tokens, under softmax(logits).
float ProbabilityOf(TokenId id, const Logits& logits);

// Log-probabilities under softmax(logits) of `chosen` and of the `num_top`
// most likely tokens, by logits of the whole vocabulary.
TokenLogprobs ComputeLogprobs(const Logits& logits, TokenId chosen, int num_top);

}  // namespace strata

#endif  // STRATA_ENGINE_SAMPLER_H_
