// Launchers of the row-count invariant matrix products. All run in `stream` and do not wait.
//
// An element of the result is a sum over K in one fixed order: within parts of kPartK by one
// accumulator, then part after part. Parts may run side by side and be summed afterwards, so the
// host may choose by the number of rows, and bits do not change. The number of rows chooses the
// tile's height, too, which no element's sum depends on.

#ifndef STRATA_KERNELS_CUDA_MAT_MUL_KERNELS_H_
#define STRATA_KERNELS_CUDA_MAT_MUL_KERNELS_H_

#include <driver_types.h>

#include <cstdint>

#include "kernels/tensor.h"
#include "kernels/weight_format.h"

namespace strata::kernels::cuda {

constexpr int64_t kPartK = 1024;

// A weight matrix [rows, cols] in device memory, a row (output feature) after the other. If it
// is gated, gate and up rows alternate.
//   f32, bf16, f16
//              `values`, plain
//   int8       `values` int8 [rows, cols padded to 64], `scales` bf16 [rows, groups of 64]:
//              weight = scale * q
//   int4       `values` [rows, cols padded to 32, a nibble each], of 8 elements in 4 bytes the low
//              nibbles being 0..3; `row_scales` f32 [rows], `codes` [rows, groups of 32, 2] code
//              and zero point: weight = row_scale * code * (16 q - zero)
struct DeviceWeights {
  WeightFormat format = WeightFormat::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  const void* values = nullptr;
  const void* scales = nullptr;
  const float* row_scales = nullptr;
  const uint8_t* codes = nullptr;
};

enum class Output : uint8_t { kStore, kAdd, kGate };

struct MatMulTask {
  const void* a = nullptr;  // FloatTypeOf(weights.format) [rows, weights.cols]
  int64_t rows = 0;
  DeviceWeights weights;
  Output output = Output::kStore;
  void* out = nullptr;  // f32 [rows, weights.rows]; kGate: type of a, [rows, weights.rows / 2]
  // If not null, parts of K run side by side: [parts, rows, weights.rows]
  float* partials = nullptr;
};

constexpr int64_t NumParts(int64_t k) { return (k + kPartK - 1) / kPartK; }
// Blocks that run without splitting K.
int64_t NumTiles(int64_t rows, const DeviceWeights& weights);

void MultiplyInOrder(cudaStream_t stream, const MatMulTask& task);

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_MAT_MUL_KERNELS_H_
