#include "engine/softmax.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/choice_math.h"

namespace strata {
namespace {

// Independent chains, for the compiler to lay side by side in vectors.
constexpr size_t kLanes = 16;
// What is done at once where a pass has two steps.
constexpr size_t kChunk = 256;

// Compiled for each of these, and chosen when the program starts. Elements are computed alike and
// sums have kLanes chains in any case (and no product is fused with a sum: -ffp-contract=off), so
// bits are the same. Not with sanitizers, whose code must not run as early as that choice.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define STRATA_FOR_EACH_ISA __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define STRATA_FOR_EACH_ISA
#endif

double SumInOrder(const std::array<double, kLanes>& lanes) {
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

[[gnu::always_inline]] inline float LargestOf(std::span<const float> logits) {
  std::array<float, kLanes> lanes;
  lanes.fill(logits[0]);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
    }
  }
  float largest = *std::max_element(lanes.begin(), lanes.end());
  for (; i < logits.size(); ++i) largest = std::max(largest, logits[i]);
  return largest;
}

// Whether none is NaN or beyond kLargestLogit. Inlined, as LargestOf, to be compiled as its caller.
[[gnu::always_inline]] inline bool AllInRange(std::span<const float> logits) {
  // Compared as integers, so that NaN needs no case of its own.
  constexpr uint32_t kLimit = std::bit_cast<uint32_t>(kernels::kLargestLogit);
  uint32_t out_of_range = 0;
  for (const float logit : logits) {
    out_of_range |= (std::bit_cast<uint32_t>(logit) & 0x7fffffffu) > kLimit ? 1u : 0u;
  }
  return out_of_range == 0;
}

}  // namespace

float FastExp(float x) { return kernels::FastExp(x); }

STRATA_FOR_EACH_ISA
LogitScan ScanLogits(std::span<const float> logits) {
  LogitScan scan{0, logits[0], true};
  size_t best_chunk = 0;
  // A chunk's second look finds it in the nearest cache.
  for (size_t first = 0; first < logits.size(); first += kChunk) {
    const auto chunk = logits.subspan(first, std::min(kChunk, logits.size() - first));
    scan.finite = scan.finite && AllInRange(chunk);
    const float largest = LargestOf(chunk);
    if (largest > scan.largest) {
      scan.largest = largest;
      best_chunk = first;
    }
  }
  while (scan.finite && logits[best_chunk + scan.best] != scan.largest) ++scan.best;
  scan.best += best_chunk;
  return scan;
}

STRATA_FOR_EACH_ISA
double ExpWeights(std::span<const float> logits, float scale, float largest,
                  std::span<float> weights) {
  for (size_t i = 0; i < logits.size(); ++i)
    weights[i] = kernels::FastExp(logits[i] * scale - largest);
  return SumOf(weights);
}

STRATA_FOR_EACH_ISA
double SumOf(std::span<const float> weights) {
  std::array<double, kLanes> lanes{};
  size_t i = 0;
  for (; i + kLanes <= weights.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += weights[i + j];
  }
  double total = SumInOrder(lanes);
  for (; i < weights.size(); ++i) total += weights[i];
  return total;
}

STRATA_FOR_EACH_ISA
double SumOfExp(std::span<const float> logits, float scale, float largest) {
  std::array<float, kChunk> weights;
  double total = 0;
  for (size_t first = 0; first < logits.size(); first += kChunk) {
    const size_t count = std::min(kChunk, logits.size() - first);
    total +=
        ExpWeights(logits.subspan(first, count), scale, largest, std::span(weights).first(count));
  }
  return total;
}

STRATA_FOR_EACH_ISA
double SumOfExcess(std::span<const float> p, double p_scale, std::span<const float> q,
                   double q_scale) {
  const auto excess = [&](size_t i) {
    const double difference = p[i] * p_scale - q[i] * q_scale;
    return difference > 0 ? difference : 0.0;
  };
  std::array<double, kLanes> lanes{};
  size_t i = 0;
  for (; i + kLanes <= p.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += excess(i + j);
  }
  double total = SumInOrder(lanes);
  for (; i < p.size(); ++i) total += excess(i);
  return total;
}

}  // namespace strata
