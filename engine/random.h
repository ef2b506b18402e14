// Randomness as a value: everything that draws takes its source as an argument.

#ifndef STRATA_ENGINE_RANDOM_H_
#define STRATA_ENGINE_RANDOM_H_

#include <cmath>
#include <cstdint>

namespace strata {

// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection whose outputs for
// related inputs look independent.
constexpr uint64_t Mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

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
  double Next() override { return ToUnitInterval(Mix64(key_ ^ Mix64(counter_++))); }

 private:
  uint64_t key_;
  uint64_t counter_ = 0;
};

// Standard Gumbel noise that depends on its key and the token only, so that
// a draft and its verification see the same noise (invariant I1).
class GumbelNoise {
 public:
  GumbelNoise(uint64_t seed, uint32_t sample_index, int64_t position)
      : key_(Mix64(Mix64(Mix64(seed) ^ sample_index) ^ static_cast<uint64_t>(position))) {}

  // Of token `id`, in (0, 1) without its ends, so that noise is finite.
  double Uniform(int32_t id) const {
    const uint64_t bits = Mix64(key_ ^ Mix64(static_cast<uint64_t>(id)));
    return (static_cast<double>(bits >> 12) + 0.5) * 0x1.0p-52;
  }
  static double FromUniform(double u) { return -std::log(-std::log(u)); }
  double At(int32_t id) const { return FromUniform(Uniform(id)); }

 private:
  uint64_t key_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_RANDOM_H_
