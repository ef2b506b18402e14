// A probability distribution over tokens.

#ifndef STRATA_ENGINE_DISTRIBUTION_H_
#define STRATA_ENGINE_DISTRIBUTION_H_

#include <cstddef>
#include <span>

#include "engine/tokenizer/tokenizer.h"

namespace strata {

// As weights, which need not sum to 1: token IdAt(i) has the probability weights[i] / total. A
// view: what it is made of lies elsewhere.
struct Distribution {
  std::span<const TokenId> ids;    // ascending; empty: the i-th weight is token i's
  std::span<const float> weights;  // not negative
  double total = 0;                // their sum up to rounding, positive

  size_t size() const { return weights.size(); }
  TokenId IdAt(size_t i) const { return ids.empty() ? static_cast<TokenId>(i) : ids[i]; }
  // 0 for a token outside the support.
  double Probability(TokenId id) const;
  // Whether both have weights of the same tokens, and know it without looking.
  bool SharesSupportWith(const Distribution& other) const {
    return size() == other.size() && ids.data() == other.ids.data();
  }
};

// The token at which the cumulative distribution exceeds u, u in [0, 1). Never one without weight.
TokenId SampleFrom(const Distribution& distribution, double u);

}  // namespace strata

#endif  // STRATA_ENGINE_DISTRIBUTION_H_
