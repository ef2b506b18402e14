// How a backend holds the weights of matrix products.

#ifndef STRATA_KERNELS_WEIGHT_FORMAT_H_
#define STRATA_KERNELS_WEIGHT_FORMAT_H_

#include <stdint.h>

namespace strata::kernels {

// kInt8 and kInt4 are quantised when a checkpoint is loaded (cpu/quantization.h). kF16 is for GPUs.
enum class WeightFormat : uint8_t { kF32, kBF16, kF16, kInt8, kInt4 };

inline constexpr WeightFormat kAllWeightFormats[] = {WeightFormat::kF32, WeightFormat::kBF16,
                                                     WeightFormat::kF16, WeightFormat::kInt8,
                                                     WeightFormat::kInt4};

// "f32", "bf16", "f16", "int8", "int4"
const char* NameOf(WeightFormat format);
// The inverse; false, and *format as it was, if `text` names none.
bool ParseWeightFormat(const char* text, WeightFormat* format);

// What a product reads for one weight, scales included.
double BytesPerWeight(WeightFormat format);

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_WEIGHT_FORMAT_H_
