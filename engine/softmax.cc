#include "engine/softmax.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace strata {
namespace {

// Independent chains, for the compiler to lay side by side in vectors.
constexpr size_t kLanes = 16;
// What is done at once where a pass has two steps.
constexpr size_t kChunk = 256;

constexpr float kLargestLogit = 1e30f;

// Branch-free and of plain arithmetic. 2^f on [-1/2, 1/2] is its Taylor series to degree 7
// (truncation error (ln2 / 2)^8 / 8! = 5e-9).
inline float Exp(float x) {
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

double SumInOrder(const std::array<double, kLanes>& lanes) {
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

}  // namespace

float FastExp(float x) { return Exp(x); }

LogitScan ScanLogits(std::span<const float> logits) {
  // Compared as integers, so that NaN needs no case of its own.
  constexpr uint32_t kLimit = std::bit_cast<uint32_t>(kLargestLogit);
  LogitScan scan{0, logits[0], true};
  size_t best_chunk = 0;
  std::array<uint32_t, kLanes> out_of_range{};
  for (size_t first = 0; first < logits.size(); first += kChunk) {
    const std::span<const float> chunk =
        logits.subspan(first, std::min(kChunk, logits.size() - first));
    std::array<float, kLanes> lanes;
    lanes.fill(chunk[0]);
    size_t i = 0;
    for (; i + kLanes <= chunk.size(); i += kLanes) {
      for (size_t j = 0; j < kLanes; ++j) {
        const float logit = chunk[i + j];
        lanes[j] = logit > lanes[j] ? logit : lanes[j];
        out_of_range[j] |= (std::bit_cast<uint32_t>(logit) & 0x7fffffffu) > kLimit ? 1u : 0u;
      }
    }
    float largest = *std::max_element(lanes.begin(), lanes.end());
    for (; i < chunk.size(); ++i) {
      largest = std::max(largest, chunk[i]);
      out_of_range[0] |= (std::bit_cast<uint32_t>(chunk[i]) & 0x7fffffffu) > kLimit ? 1u : 0u;
    }
    if (largest > scan.largest) {
      scan.largest = largest;
      best_chunk = first;
    }
  }
  for (const uint32_t lane : out_of_range) scan.finite = scan.finite && lane == 0;
  while (scan.finite && logits[best_chunk + scan.best] != scan.largest) ++scan.best;
  scan.best += best_chunk;
  return scan;
}

double ExpWeights(std::span<const float> logits, float scale, float largest,
                  std::span<float> weights) {
  for (size_t i = 0; i < logits.size(); ++i) weights[i] = Exp(logits[i] * scale - largest);
  return SumOf(weights);
}

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
