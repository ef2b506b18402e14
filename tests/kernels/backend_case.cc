#include "tests/kernels/backend_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "kernels/float_types.h"

namespace strata::kernels {
namespace {

std::vector<char> Encode(DType dtype, const std::vector<float>& values) {
  std::vector<char> bytes(values.size() * SizeOf(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(&bytes[i * 4], &values[i], 4);
    } else {
      const uint16_t half = dtype == DType::kBF16 ? F32ToBf16(values[i]) : F32ToF16(values[i]);
      std::memcpy(&bytes[i * 2], &half, 2);
    }
  }
  return bytes;
}

}  // namespace

float Rounded(float value, DType dtype) {
  if (dtype == DType::kBF16) return Bf16ToF32(F32ToBf16(value));
  if (dtype == DType::kF32 || std::isnan(value)) return value;
  return F16ToF32(F32ToF16(std::clamp(value, -65504.0f, 65504.0f)));
}

std::vector<float> Rounded(std::vector<float> values, DType dtype) {
  for (float& value : values) value = Rounded(value, dtype);
  return values;
}

namespace {

// Visits the groups of each row; the last one of a row may be shorter.
template <typename Visit>
void ForEachGroup(std::vector<float>& values, int64_t cols, int64_t group, const Visit& visit) {
  for (size_t row = 0; row < values.size(); row += cols) {
    for (int64_t first = 0; first < cols; first += group) {
      visit(std::span<float>(&values[row + first], std::min(group, cols - first)));
    }
  }
}

float LargestMagnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

float RangeOf(std::span<const float> values, float* low) {
  *low = std::min(0.0f, *std::min_element(values.begin(), values.end()));
  return std::max(0.0f, *std::max_element(values.begin(), values.end())) - *low;
}

void HoldInt8(std::span<float> group) {
  const float exact = LargestMagnitude(group) / 127;
  float scale = Rounded(exact, DType::kBF16);
  if (scale < exact) scale = Bf16ToF32(F32ToBf16(scale) + 1);
  const float inverse = scale > 0 ? 1 / scale : 0;
  for (float& value : group) value = (std::nearbyint(value * inverse + 128) - 128) * scale;
}

void HoldInt4(std::span<float> row, int64_t group_size) {
  std::vector<float> values(row.begin(), row.end());
  float widest = 0;
  float low;
  const int64_t cols = static_cast<int64_t>(row.size());
  ForEachGroup(values, cols, group_size,
               [&](std::span<float> group) { widest = std::max(widest, RangeOf(group, &low)); });
  const float unit = widest / 15 / 255;
  const float per_unit = unit > 0 ? 1 / unit : 0;
  ForEachGroup(values, cols, group_size, [&](std::span<float> group) {
    const float range = RangeOf(group, &low);
    const float code = std::clamp(std::ceil(range / 15 * per_unit - 1e-3f), 1.0f, 255.0f);
    const float inverse = code * unit > 0 ? 1 / (code * unit) : 0;
    const float zero = std::clamp(std::nearbyint(-low * inverse * 16), 0.0f, 255.0f);
    for (float& value : group) {
      const float q = std::clamp(std::nearbyint(value * inverse + zero / 16), 0.0f, 15.0f);
      value = unit / 16 * code * (16 * q - zero);
    }
  });
  std::copy(values.begin(), values.end(), row.begin());
}

}  // namespace

std::vector<float> HeldWeights(std::vector<float> weights, int64_t cols, WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      break;
    case WeightFormat::kBF16:
      return Rounded(std::move(weights), DType::kBF16);
    case WeightFormat::kF16:
      return Rounded(std::move(weights), DType::kF16);
    case WeightFormat::kInt8:
      ForEachGroup(weights, cols, 64, HoldInt8);
      break;
    case WeightFormat::kInt4:
      for (size_t row = 0; row < weights.size(); row += cols) {
        HoldInt4(std::span<float>(&weights[row], cols), 32);
      }
      break;
  }
  return weights;
}

std::vector<float> QuantizedOperands(std::vector<float> operands, int64_t cols,
                                     WeightFormat format) {
  const int64_t group_size = format == WeightFormat::kInt8 ? 64 : 32;
  ForEachGroup(operands, cols, group_size, [](std::span<float> group) {
    const float largest = LargestMagnitude(group);
    const float inverse = largest > 1e-30f ? 127 / largest : 0;
    for (float& value : group) value = std::nearbyint(value * inverse) * (largest / 127);
  });
  return operands;
}

std::vector<float> RandomValues(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random() >> 8) * 0x1p-23f - 1.0f;
  return values;
}

DeviceTensor::DeviceTensor(Backend& backend, DType dtype, int64_t rows, int64_t cols)
    : backend_(backend),
      dtype_(dtype),
      rows_(rows),
      cols_(cols),
      buffer_(backend.Allocate(NumWords() * sizeof(float))) {}

DeviceTensor::DeviceTensor(Backend& backend, DType dtype, int64_t rows, int64_t cols,
                           const std::vector<float>& values)
    : DeviceTensor(backend, dtype, rows, cols) {
  const std::vector<char> bytes = Encode(dtype, values);
  if (!bytes.empty()) backend.CopyToDevice(buffer_.data(), bytes.data(), bytes.size());
}

std::vector<float> DeviceTensor::Values() const {
  const float* host = backend_.ReadBack(buffer_.View(DType::kF32, 1, NumWords()));
  std::vector<float> values(rows_ * cols_);
  for (int64_t i = 0; i < rows_ * cols_; ++i) values[i] = LoadAsF32(host, dtype_, i);
  return values;
}

std::vector<float> DeviceTensor::Row(int64_t row) const {
  const std::vector<float> values = Values();
  return {values.begin() + row * cols_, values.begin() + (row + 1) * cols_};
}

HostTensor::HostTensor(DType dtype, int64_t rows, int64_t cols, const std::vector<float>& values)
    : dtype_(dtype), rows_(rows), cols_(cols), bytes_(Encode(dtype, values)) {}

}  // namespace strata::kernels
