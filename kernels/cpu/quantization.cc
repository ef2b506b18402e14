#include "kernels/cpu/quantization.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cpu/quantized_layout.h"
#include "kernels/float_types.h"

namespace strata::kernels {
namespace {

// Nearest integer, halves to even: adding and subtracting 1.5 * 2^23 rounds.
// Vectorises without SSE4.1, which std::nearbyint needs.
float Round(float x) { return (x + 12582912.0f) - 12582912.0f; }

struct Range {
  float low = 0;  // at most 0
  float high = 0;
  float nan = 0;  // NaN if any value is not finite
};

Range RangeOf(const float* w, int64_t count) {
  // Four chains, which the compiler turns into a vector.
  Range lanes[4];
  for (int64_t i = 0; i < count; i += 4) {
    for (int l = 0; l < 4; ++l) {
      lanes[l].low = std::min(lanes[l].low, w[i + l]);
      lanes[l].high = std::max(lanes[l].high, w[i + l]);
      lanes[l].nan += w[i + l] * 0.0f;
    }
  }
  Range range;
  for (const Range& lane : lanes) {
    range.low = std::min(range.low, lane.low);
    range.high = std::max(range.high, lane.high);
    range.nan += lane.nan;
  }
  return range;
}

// A bf16 not below `value`, which is positive or zero.
uint16_t Bf16AtLeast(float value) {
  const uint16_t nearest = F32ToBf16(value);
  return Bf16ToF32(nearest) < value ? nearest + 1 : nearest;
}

// The nearest of 0 to `most`. NaN, which only stands in columns whose scale is NaN, as 0.
// Signed, since only such conversions are one instruction.
int32_t Quantum(float x, float most) {
  return static_cast<int32_t>(x > 0 ? std::min(Round(x), most) : 0.0f);
}

// The low bytes of four.
void StoreBytes(const int32_t* q, char* out) {
  const int32_t bytes = q[0] | q[1] << 8 | q[2] << 16 | q[3] << 24;
  std::memcpy(out, &bytes, sizeof(bytes));
}

constexpr uint16_t kBf16Nan = 0x7fc0;

float Inverse(float scale) { return scale > 0 ? 1 / scale : 0; }

}  // namespace

void PackInt8Column(std::span<const float> weights, int64_t column, int64_t cols, char* panel) {
  using Format = Int8Format;
  for (size_t first = 0; first < weights.size(); first += Format::kGroup) {
    const float* w = &weights[first];
    const Range range = RangeOf(w, Format::kGroup);
    const float magnitude = std::max(-range.low, range.high);
    const bool finite = range.nan == 0;
    const uint16_t scale = finite ? Bf16AtLeast(magnitude / 127) : kBf16Nan;
    const float inverse = finite ? Inverse(Bf16ToF32(scale)) : 0;
    int32_t q[Format::kGroup];
    for (int64_t i = 0; i < Format::kGroup; ++i) q[i] = Quantum(w[i] * inverse + 128, 255);
    for (int64_t i = 0; i < Format::kGroup; i += 4) {
      StoreBytes(q + i, panel + (i / 4 * cols + column) * 4);
    }
    std::memcpy(panel + Format::kGroup * cols + column * 2, &scale, 2);
    panel += cols * Format::kColumnBytes;
  }
}

void PackInt4Column(std::span<const float> weights, int64_t column, int64_t cols, char* panel) {
  using Format = Int4Format;
  constexpr float kSteps = 15;
  // The widest group gets code 255, in units of 1/16 of a step.
  float widest = 0;
  float nan = 0;
  std::vector<Range> ranges;
  ranges.reserve(weights.size() / Format::kGroup);
  for (size_t first = 0; first < weights.size(); first += Format::kGroup) {
    const Range range = RangeOf(&weights[first], Format::kGroup);
    widest = std::max(widest, range.high - range.low);
    nan += range.nan;
    ranges.push_back(range);
  }
  const float unit = widest / kSteps / 255;  // of a code
  const float scale = unit / 16 + nan;
  std::memcpy(panel + column * 4, &scale, 4);
  panel += cols * Format::kHeadBytes;
  const float per_unit = Inverse(unit);
  for (size_t first = 0; first < weights.size(); first += Format::kGroup) {
    const float* w = &weights[first];
    const Range& range = ranges[first / Format::kGroup];
    // Rounded up, so that the ends of the range stay in it.
    const float code =
        std::clamp(std::ceil((range.high - range.low) / kSteps * per_unit - 1e-3f), 1.0f, 255.0f);
    const float inverse = Inverse(code * unit);
    const float zero = std::clamp(Round(-range.low * inverse * 16), 0.0f, 255.0f);
    int32_t q[Format::kGroup];
    for (int64_t i = 0; i < Format::kGroup; ++i) {
      q[i] = Quantum(w[i] * inverse + zero / 16, kSteps);
    }
    for (int64_t i = 0; i < Format::kGroup; i += 8) {
      int32_t pairs[4];
      for (int b = 0; b < 4; ++b) pairs[b] = q[i + b] | q[i + 4 + b] << 4;
      StoreBytes(pairs, panel + (i / 8 * cols + column) * 4);
    }
    char* codes = panel + Format::kGroup / 2 * cols;
    codes[column] = static_cast<char>(static_cast<uint8_t>(code));
    codes[cols + column] = static_cast<char>(static_cast<uint8_t>(zero));
    panel += cols * Format::kColumnBytes;
  }
}

}  // namespace strata::kernels
