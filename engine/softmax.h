// Loops over the vocabulary, written so that compilers vectorise them. Sums
// run in a fixed order: the result does not depend on the machine's vectors.

#ifndef STRATA_ENGINE_SOFTMAX_H_
#define STRATA_ENGINE_SOFTMAX_H_

#include <cstddef>
#include <span>

namespace strata {

// exp(x) for x <= 0 with a relative error below 2e-7; 0 below -87.
float FastExp(float x);

// What one pass over a row of logits tells.
struct LogitScan {
  size_t best = 0;     // index of the largest, the lowest of equals; any where not finite
  float largest = 0;   // logits[best]
  bool finite = true;  // all are numbers that a working model can compute: none NaN or beyond 1e30
};
// REQUIRES: not empty.
LogitScan ScanLogits(std::span<const float> logits);

// weights[i] = exp(scale * logits[i] - largest), where no scaled logit exceeds
// `largest`; returns their sum. The spans have one size.
double ExpWeights(std::span<const float> logits, float scale, float largest,
                  std::span<float> weights);

// The sum alone.
double SumOfExp(std::span<const float> logits, float scale, float largest);

double SumOf(std::span<const float> weights);

// The sum of max(p_scale * p[i] - q_scale * q[i], 0). The spans have one size.
double SumOfExcess(std::span<const float> p, double p_scale, std::span<const float> q,
                   double q_scale);

}  // namespace strata

#endif  // STRATA_ENGINE_SOFTMAX_H_
