// Loops over the vocabulary, written so that compilers vectorise them. Sums
// run in a fixed order: the result does not depend on the machine's vectors.

#ifndef STRATA_ENGINE_SOFTMAX_H_
#define STRATA_ENGINE_SOFTMAX_H_

#include <span>

#include "engine/tokenizer/tokenizer.h"

namespace strata {

// exp(x) for x <= 0 with a relative error below 2e-7; 0 below -87.
float FastExp(float x);

// Index of the largest element, the lowest of equals. REQUIRES: not empty, finite.
TokenId ArgmaxOf(std::span<const float> logits);

// weights[i] = exp(logits[i] - largest), where no logit exceeds `largest`;
// returns their sum. The spans have one size.
double ExpWeights(std::span<const float> logits, float largest, std::span<float> weights);

// The sum alone.
double SumOfExp(std::span<const float> logits, float largest);

// Whether all are numbers that a working model can compute: not NaN, not beyond 1e30.
bool AllFinite(std::span<const float> logits);

}  // namespace strata

#endif  // STRATA_ENGINE_SOFTMAX_H_
