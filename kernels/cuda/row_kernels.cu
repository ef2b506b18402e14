#include "kernels/cuda/device_language.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/row_kernels.h"

namespace strata::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kNormThreads = 256;

template <typename T>
__global__ void EmbedKernel(const T* table, const int32_t* ids, int64_t cols, float* out) {
  const int64_t row = blockIdx.x;
  const int32_t id = ids[row];
  const T* from = table + id * cols;
  for (int64_t j = threadIdx.x; j < cols; j += kThreads) {
    out[row * cols + j] = id < 0 ? 0.0f : ToFloat(from[j]);
  }
}

// The sum over the block, in all its threads.
__device__ float BlockSum(float value) {
  constexpr int kWarps = kNormThreads / kWarp;
  STRATA_SHARED(float, sums, kWarps);
  value = WarpSum(value);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = value;
  __syncthreads();
  float total = 0;
  for (int i = 0; i < kWarps; ++i) total += sums[i];
  return total;
}

template <typename Out>
__global__ void NormKernel(const float* x, const float* weight, float eps, int64_t cols, Out* out) {
  const float* row = x + blockIdx.x * cols;
  float squares = 0;
  for (int64_t j = threadIdx.x; j < cols; j += kNormThreads)
    squares = fmaf(row[j], row[j], squares);
  const float mean = BlockSum(squares) / static_cast<float>(cols);
  const float scale = 1.0f / sqrtf(mean + eps);
  for (int64_t j = threadIdx.x; j < cols; j += kNormThreads) {
    out[blockIdx.x * cols + j] = FromFloat<Out>(row[j] * scale * weight[j]);
  }
}

__global__ void GatherKernel(const float* src, const int32_t* indices, int64_t cols, float* dst) {
  const float* from = src + indices[blockIdx.x] * cols;
  float* to = dst + blockIdx.x * cols;
  for (int64_t j = threadIdx.x; j < cols; j += kThreads) to[j] = from[j];
}

__global__ void ScatterKernel(const float* src, const int32_t* indices, int64_t cols, float* dst) {
  const float* from = src + blockIdx.x * cols;
  float* to = dst + indices[blockIdx.x] * cols;
  for (int64_t j = threadIdx.x; j < cols; j += kThreads) to[j] = from[j];
}

template <typename Word>
__global__ void GatherWordsKernel(const Word* src, const int32_t* indices, int64_t words,
                                  Word* dst) {
  const Word* from = src + indices[blockIdx.x] * words;
  Word* to = dst + blockIdx.x * words;
  for (int64_t j = threadIdx.x; j < words; j += kThreads) to[j] = from[j];
}

template <typename Out>
__global__ void GateKernel(const float* x, int64_t cols, Out* out) {
  const float2* row = reinterpret_cast<const float2*>(x) + blockIdx.x * cols;
  for (int64_t j = threadIdx.x; j < cols; j += kThreads) {
    out[blockIdx.x * cols + j] = FromFloat<Out>(Silu(row[j].x) * row[j].y);
  }
}

__global__ void SumRanksKernel(const float* x, int ranks, int64_t count, float* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  float sum = x[i];
  for (int rank = 1; rank < ranks; ++rank) sum += x[rank * count + i];
  out[i] = sum;
}

}  // namespace

void EmbedRows(cudaStream_t stream, const void* table, DType dtype, const int32_t* ids,
               int64_t rows, int64_t cols, float* out) {
  if (rows == 0) return;
  WithType(dtype, [&](auto element) {
    using T = decltype(element);
    Launch(stream, Extent(rows), kThreads, EmbedKernel<T>, static_cast<const T*>(table), ids, cols,
           out);
  });
}

void NormRows(cudaStream_t stream, const float* x, const float* weight, float eps, int64_t rows,
              int64_t cols, void* out, DType out_dtype) {
  if (rows == 0) return;
  WithType(out_dtype, [&](auto element) {
    using Out = decltype(element);
    Launch(stream, Extent(rows), kNormThreads, NormKernel<Out>, x, weight, eps, cols,
           static_cast<Out*>(out));
  });
}

void GatherRows(cudaStream_t stream, const float* src, const int32_t* indices, int64_t rows,
                int64_t cols, float* dst) {
  if (rows > 0) Launch(stream, Extent(rows), kThreads, GatherKernel, src, indices, cols, dst);
}

void ScatterRows(cudaStream_t stream, const float* src, const int32_t* indices, int64_t rows,
                 int64_t cols, float* dst) {
  if (rows > 0) Launch(stream, Extent(rows), kThreads, ScatterKernel, src, indices, cols, dst);
}

void GatherBytes(cudaStream_t stream, const void* src, const int32_t* indices, int64_t rows,
                 int64_t row_bytes, void* dst) {
  if (rows == 0) return;
  const auto launch = [&](auto word) {
    using Word = decltype(word);
    Launch(stream, Extent(rows), kThreads, GatherWordsKernel<Word>, static_cast<const Word*>(src),
           indices, row_bytes / static_cast<int64_t>(sizeof(Word)), static_cast<Word*>(dst));
  };
  if (row_bytes % 16 == 0) {
    launch(uint4());
  } else {
    launch(uint8_t());
  }
}

void SumRanks(cudaStream_t stream, const float* x, int ranks, int64_t count, float* out) {
  if (count == 0) return;
  Launch(stream, Extent(CeilDiv(count, kThreads)), kThreads, SumRanksKernel, x, ranks, count, out);
}

void GateRows(cudaStream_t stream, const float* x, int64_t rows, int64_t cols, void* out,
              DType out_dtype) {
  if (rows == 0) return;
  WithType(out_dtype, [&](auto element) {
    using Out = decltype(element);
    Launch(stream, Extent(rows), kThreads, GateKernel<Out>, x, cols, static_cast<Out*>(out));
  });
}

}  // namespace strata::kernels::cuda
