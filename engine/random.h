// Randomness as a value: everything that draws takes its source as an argument.

#ifndef STRATA_ENGINE_RANDOM_H_
#define STRATA_ENGINE_RANDOM_H_

#include <cmath>
#include <cstdint>

#include "kernels/choice_math.h"

namespace strata {

using kernels::Mix64;

// The top 53 bits of `bits` as a number in [0, 1).
constexpr double ToUnitInterval(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

// Uniform numbers in [0, 1).
class UniformSource {
 public:
  virtual ~UniformSource() = default;
  virtual double Next() = 0;
};

// The n-th number is a function of (key, n).
class CounterRng final : public UniformSource {
 public:
  explicit CounterRng(uint64_t key) : key_(Mix64(key)) {}
  double Next() override { return At(counter_++); }
  // What Next gives after `count` others.
  double Peek(uint64_t count) const { return At(counter_ + count); }
  // As `count` calls of Next.
  void Skip(uint64_t count) { counter_ += count; }

 private:
  double At(uint64_t n) const { return ToUnitInterval(Mix64(key_ ^ Mix64(n))); }

  uint64_t key_;
  uint64_t counter_ = 0;
};

// Standard Gumbel noise that depends on its key and the token only, so that
// a draft and its verification see the same noise (invariant I1).
class GumbelNoise {
 public:
  GumbelNoise(uint64_t seed, uint32_t sample_index, int64_t position)
      : key_(kernels::NoiseKey(seed, sample_index, position)) {}

  // Of token `id`, in (0, 1) without its ends, so that noise is finite.
  double Uniform(int32_t id) const { return kernels::NoiseUniform(key_, id); }
  static double FromUniform(double u) { return -std::log(-std::log(u)); }
  double At(int32_t id) const { return FromUniform(Uniform(id)); }

 private:
  uint64_t key_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_RANDOM_H_
