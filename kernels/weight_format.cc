#include "kernels/weight_format.h"

#include <cstring>

#include "kernels/cpu/quantized_layout.h"

namespace strata::kernels {
namespace {

template <class Format>
constexpr double BytesInGroup() {
  return static_cast<double>(Format::kColumnBytes) / Format::kGroup;
}

}  // namespace

const char* NameOf(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "f32";
    case WeightFormat::kBF16:
      return "bf16";
    case WeightFormat::kF16:
      return "f16";
    case WeightFormat::kInt8:
      return "int8";
    case WeightFormat::kInt4:
      return "int4";
  }
  return "unknown";
}

bool ParseWeightFormat(const char* text, WeightFormat* format) {
  for (const WeightFormat known : kAllWeightFormats) {
    if (std::strcmp(text, NameOf(known)) != 0) continue;
    *format = known;
    return true;
  }
  return false;
}

double BytesPerWeight(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return 4;
    case WeightFormat::kBF16:
    case WeightFormat::kF16:
      return 2;
    case WeightFormat::kInt8:
      return BytesInGroup<Int8Format>();
    case WeightFormat::kInt4:
      return BytesInGroup<Int4Format>();
  }
  return 0;
}

}  // namespace strata::kernels
