// Arithmetic of choosing tokens that has the same bits wherever it runs: in the engine on the host,
// in a backend on its device. Neither products fused with sums nor libraries.

#ifndef STRATA_KERNELS_CHOICE_MATH_H_
#define STRATA_KERNELS_CHOICE_MATH_H_

#include <bit>
#include <cstdint>

namespace strata::kernels {

// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection whose outputs for
// related inputs look independent.
constexpr uint64_t Mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Of the noise at a position of a sample.
constexpr uint64_t NoiseKey(uint64_t seed, uint32_t sample_index, int64_t position) {
  return Mix64(Mix64(Mix64(seed) ^ sample_index) ^ static_cast<uint64_t>(position));
}

// A uniform number for token `id`, in (0, 1) without its ends.
constexpr double NoiseUniform(uint64_t key, int32_t id) {
  const uint64_t bits = Mix64(key ^ Mix64(static_cast<uint64_t>(id)));
  return (static_cast<double>(bits >> 12) + 0.5) * 0x1.0p-52;
}

// exp(x) for x <= 0 with a relative error below 2e-7; 0 below -87. Branch-free, so that compilers
// vectorise loops of it. 2^f on [-1/2, 1/2] is its Taylor series to degree 7 (truncation error
// (ln2 / 2)^8 / 8! = 5e-9).
constexpr float FastExp(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
  const float shifted = clamped * 1.44269504f + 12582912.0f;
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
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) << 23;
  const float result = std::bit_cast<float>(std::bit_cast<uint32_t>(p) + exponent);
  return x < -87.0f ? 0.0f : result;
}

// Logits of a working model are no larger than this, and are numbers.
inline constexpr float kLargestLogit = 1e30f;

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CHOICE_MATH_H_
