// exp for the sampler's loops over the vocabulary.

#ifndef STRATA_ENGINE_FAST_EXP_H_
#define STRATA_ENGINE_FAST_EXP_H_

#include <bit>
#include <cstdint>

namespace strata {

// exp(x) for x <= 0 with a relative error below 2e-7; 0 below -87. Branch-free and of
// plain arithmetic, so that compilers vectorise loops over it. 2^f on [-1/2, 1/2] is its Taylor
// series to degree 7 (truncation error (ln2 / 2)^8 / 8! = 5e-9).
inline float FastExp(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  const float t = clamped * 1.44269504f;
  // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
  const float shifted = t + 12582912.0f;
  const float n = shifted - 12582912.0f;
  // x - n ln2 in two parts: ln2's leading bits make the product exact.
  const float r = (clamped - n * 0.693145752f) - n * 1.42860677e-6f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) << 23;
  const float result = std::bit_cast<float>(std::bit_cast<int32_t>(p) + exponent);
  return x < -87.0f ? 0.0f : result;
}

}  // namespace strata

#endif  // STRATA_ENGINE_FAST_EXP_H_
