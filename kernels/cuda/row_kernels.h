// Launchers of the kernels that work row by row. All run in `stream` and do not wait.

#ifndef STRATA_KERNELS_CUDA_ROW_KERNELS_H_
#define STRATA_KERNELS_CUDA_ROW_KERNELS_H_

#include <driver_types.h>

#include <cstdint>

#include "kernels/tensor.h"

namespace strata::kernels::cuda {

// out[i, :] = table[ids[i], :], zeros if the id is negative.  table [any, cols] of `dtype`, out f32
// [rows, cols]
void EmbedRows(cudaStream_t stream, const void* table, DType dtype, const int32_t* ids,
               int64_t rows, int64_t cols, float* out);

// out = x / sqrt(mean(x^2) + eps) * weight.  x f32 [rows, cols], weight f32 [cols], out of any type
void NormRows(cudaStream_t stream, const float* x, const float* weight, float eps, int64_t rows,
              int64_t cols, void* out, DType out_dtype);

// dst[i, :] = src[indices[i], :] or dst[indices[i], :] = src[i, :].  f32 [.., cols]
void GatherRows(cudaStream_t stream, const float* src, const int32_t* indices, int64_t rows,
                int64_t cols, float* dst);
void ScatterRows(cudaStream_t stream, const float* src, const int32_t* indices, int64_t rows,
                 int64_t cols, float* dst);

// dst[i, :] = src[indices[i], :], rows of `row_bytes`.
void GatherBytes(cudaStream_t stream, const void* src, const int32_t* indices, int64_t rows,
                 int64_t row_bytes, void* dst);

// out[i, j] = silu(x[i, 2 j]) * x[i, 2 j + 1].  x f32 [rows, 2 cols], out of any type [rows, cols]
void GateRows(cudaStream_t stream, const float* x, int64_t rows, int64_t cols, void* out,
              DType out_dtype);

// out = ((x_0 + x_1) + x_2) + ...  x f32 [ranks, count], out f32 [count], no part of x
void SumRanks(cudaStream_t stream, const float* x, int ranks, int64_t count, float* out);

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_ROW_KERNELS_H_
