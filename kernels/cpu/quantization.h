// Quantises weights when they are packed.

#ifndef STRATA_KERNELS_CPU_QUANTIZATION_H_
#define STRATA_KERNELS_CPU_QUANTIZATION_H_

#include <cstdint>
#include <span>

namespace strata::kernels {

// Writes one output feature as column `column` of a panel of `cols` columns
// (quantized_layout.h). `weights` is padded to whole groups with zeros.
//
// int8: round to nearest, the largest magnitude of a group being 127.
void PackInt8Column(std::span<const float> weights, int64_t column, int64_t cols, char* panel);
// int4: round to nearest between a group's smallest and largest value.
void PackInt4Column(std::span<const float> weights, int64_t column, int64_t cols, char* panel);

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_QUANTIZATION_H_
