// From a row of logits to a token.

#ifndef STRATA_ENGINE_SAMPLER_H_
#define STRATA_ENGINE_SAMPLER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/random.h"
#include "engine/request.h"

namespace strata {

// A probability distribution over the tokens that truncation has left.
struct Distribution {
  std::vector<TokenId> ids;   // ascending
  std::vector<double> probs;  // of `ids`; they sum to 1 up to rounding

  // 0 for a token outside the support.
  double Probability(TokenId id) const;
};

// The token at which the cumulative distribution exceeds u, u in [0, 1).
TokenId SampleFrom(const Distribution& distribution, double u);

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

// Turns logits into choices for one sample of one request. The same object
// serves drafting and verification, so both see the same transformations.
//
// Logits are those of the whole vocabulary, or of the tokens `ids` alone (ascending; empty: of
// all). Bias and penalties of other tokens then have no effect.
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
  // Records a token that is committed, or drafted and assumed for the time being.
  void Push(TokenId id);
  // Takes back the newest Push of `id`.
  void Pop(TokenId id);

  // kGreedy and kSeeded: the token at absolute `position`. logits [vocab_size], or [ids.size()]
  TokenId Choose(std::span<const float> logits, int64_t position,
                 std::span<const TokenId> ids = {});
  // The distribution of the next token after penalties, temperature and
  // truncation. Greedy gives all mass to one token. logits [vocab_size], or [ids.size()]
  Distribution Warp(std::span<const float> logits, std::span<const TokenId> ids = {});

 private:
  struct Candidate {
    TokenId id;
    float logit;   // after penalties and temperature
    float weight;  // exp(logit - largest)
  };

  // Copies the logits and applies bias and penalties.
  void Process(std::span<const float> logits);
  // Null if there is none.
  float* ProcessedLogit(TokenId id);
  TokenId TokenAt(size_t index) const {
    return ids_.empty() ? static_cast<TokenId>(index) : ids_[index];
  }
  // Applies temperature and fills candidates_ with the support, by ascending id.
  void Truncate();
  // Fills candidates_ with enough of the most likely tokens for top-k and top-p, most likely first.
  void GatherMostLikely(float largest, double total);
  void KeepTopP(double total);
  double SumOfWeights() const;  // of candidates_
  TokenId GumbelMax(const GumbelNoise& noise) const;

  const SamplingParams params_;
  const int sample_index_;
  const Mode mode_;
  const bool has_penalties_;
  TokenCounts counts_;

  // Of one call, and its scratch.
  std::span<const TokenId> ids_;
  std::vector<float> processed_;
  std::vector<float> weights_;
  std::vector<Candidate> candidates_;
};

// Log-probabilities under softmax(logits) of `chosen` and of the `num_top`
// most likely tokens. logits [vocab_size]
TokenLogprobs ComputeLogprobs(std::span<const float> logits, TokenId chosen, int num_top);

}  // namespace strata

#endif  // STRATA_ENGINE_SAMPLER_H_
