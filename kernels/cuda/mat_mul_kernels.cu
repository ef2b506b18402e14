#include "kernels/cuda/device_language.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mat_mul_kernels.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/weight_tiles.h"

namespace strata::kernels::cuda {
namespace {

constexpr int kWarps = kMatMulThreads / kWarp;
constexpr int kFragmentRows = 16;  // that one tensor core instruction computes
constexpr int kFragmentCols = 8;
constexpr int kFragmentK = 16;
constexpr int kWarpFragments = kTileCols / kWarps / kFragmentCols;
static_assert(kPartK % kChunk == 0);

// What a thread holds of the tile's result: of each fragment, rows g and g + 8, columns 2 t and
// 2 t + 1, with g = lane / 4 and t = lane % 4. A warp has all rows of its own 16 columns.
template <int kRowFragments>
using Accumulators = float[kRowFragments][kWarpFragments][4];

// acc += the products of elements [begin, end) of the chunk. Tensor cores.
template <int kRowFragments, typename Half>
__device__ __forceinline__ void AddProducts(const Half* a, const Half* w, int begin, int end,
                                            Accumulators<kRowFragments>& acc) {
  constexpr int kStride = kTileStride<Half>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int g = lane / 4;
  const int t = lane % 4;
  const auto two = [](const Half* at) { return *reinterpret_cast<const uint32_t*>(at); };
#pragma unroll
  for (int k = begin; k < end; k += kFragmentK) {
    uint32_t right[kWarpFragments][2];
#pragma unroll
    for (int f = 0; f < kWarpFragments; ++f) {
      const Half* at = w + (f * kFragmentCols + g) * kStride + k + 2 * t;
      right[f][0] = two(at);
      right[f][1] = two(at + 8);
    }
#pragma unroll
    for (int r = 0; r < kRowFragments; ++r) {
      const Half* at = a + (r * kFragmentRows + g) * kStride + k + 2 * t;
      const uint32_t left[4] = {two(at), two(at + 8 * kStride), two(at + 8),
                                two(at + 8 * kStride + 8)};
#pragma unroll
      for (int f = 0; f < kWarpFragments; ++f) Mma<Half>(acc[r][f], left, right[f]);
    }
  }
}

// The same without tensor cores, which would round f32.
template <int kRowFragments>
__device__ __forceinline__ void AddProducts(const float* a, const float* w, int begin, int end,
                                            Accumulators<kRowFragments>& acc) {
  constexpr int kStride = kTileStride<float>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float* left = a + lane / 4 * kStride;
  const float* right = w + lane % 4 * 2 * kStride;
#pragma unroll 4
  for (int k = begin; k < end; ++k) {
#pragma unroll
    for (int r = 0; r < kRowFragments; ++r) {
#pragma unroll
      for (int f = 0; f < kWarpFragments; ++f) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          acc[r][f][i] = fmaf(left[(r * kFragmentRows + i / 2 * 8) * kStride + k],
                              right[(f * kFragmentCols + i % 2) * kStride + k], acc[r][f][i]);
        }
      }
    }
  }
}

// acc += the products of a chunk, each group times its scale.
template <class Weights, int kRowFragments>
__device__ __forceinline__ void AddChunk(const typename Weights::Element* a,
                                         const typename Weights::Element* w, const float* scales,
                                         Accumulators<kRowFragments>& acc) {
  if constexpr (Weights::kScaledGroup == 0) {
    AddProducts<kRowFragments>(a, w, 0, kChunk, acc);
  } else {
    const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
    for (int group = 0; group < kChunk / Weights::kScaledGroup; ++group) {
      Accumulators<kRowFragments> sums = {};
      const int begin = group * Weights::kScaledGroup;
      AddProducts<kRowFragments>(a, w, begin, begin + Weights::kScaledGroup, sums);
#pragma unroll
      for (int f = 0; f < kWarpFragments; ++f) {
        const float* of = scales + group * kTileCols + f * kFragmentCols + 2 * t;
        const float scale[2] = {of[0], of[1]};
#pragma unroll
        for (int r = 0; r < kRowFragments; ++r) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            acc[r][f][i] = fmaf(sums[r][f][i], scale[i % 2], acc[r][f][i]);
          }
        }
      }
    }
  }
}

// Writes two neighbours of a row, `col` being even.
template <typename Element>
__device__ __forceinline__ void Write(const MatMulTask& task, int64_t row, int64_t col, float first,
                                      float second) {
  const int64_t cols = task.weights.rows;
  if (row >= task.rows || col >= cols) return;
  if (task.output == Output::kGate) {
    static_cast<Element*>(task.out)[row * (cols / 2) + col / 2] =
        FromFloat<Element>(Silu(first) * second);
    return;
  }
  float* out = static_cast<float*>(task.out) + row * cols + col;
  out[0] = task.output == Output::kAdd ? out[0] + first : first;
  if (col + 1 < cols) out[1] = task.output == Output::kAdd ? out[1] + second : second;
}

// grid [column tiles, row tiles, parts or 1]
template <class Weights, int kRowFragments>
__global__ void __launch_bounds__(kMatMulThreads) MatMulKernel(MatMulTask task) {
  using Element = typename Weights::Element;
  constexpr int kTileRows = kRowFragments * kFragmentRows;
  STRATA_SHARED(Element, a_tile, kTileRows * kTileStride<Element>);
  STRATA_SHARED(Element, w_tile, kTileCols * kTileStride<Element>);
  STRATA_SHARED(float, scales, kMaxScaledGroups* kTileCols);

  const int64_t k = task.weights.cols;
  const int64_t first_col = int64_t{blockIdx.x} * kTileCols;
  const int64_t first_row = int64_t{blockIdx.y} * kTileRows;
  const bool split = task.partials != nullptr;
  const int64_t begin = split ? blockIdx.z * kPartK : 0;
  const int64_t end = split ? min(begin + kPartK, k) : k;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warp_col = warp * kWarpFragments * kFragmentCols;
  const Element* w_of_warp = w_tile + warp_col * kTileStride<Element>;

  PlainTile<Element, kTileRows> a_next;
  Weights w_next;
  const auto fetch = [&](int64_t at) {
    a_next.Fetch(static_cast<const Element*>(task.a), task.rows, k, first_row, at);
    w_next.Fetch(task.weights, first_col, at);
  };
  Accumulators<kRowFragments> total = {};
  Accumulators<kRowFragments> part = {};
  fetch(begin);
  for (int64_t at = begin; at < end; at += kChunk) {
    a_next.Store(a_tile);
    w_next.Store(w_tile, scales);
    __syncthreads();
    if (at + kChunk < end) fetch(at + kChunk);
    AddChunk<Weights, kRowFragments>(a_tile, w_of_warp, scales + warp_col, part);
    __syncthreads();
    if ((at + kChunk) % kPartK != 0 && at + kChunk < end) continue;
    const bool first_part = at / kPartK * kPartK == begin;
#pragma unroll
    for (int r = 0; r < kRowFragments; ++r) {
#pragma unroll
      for (int f = 0; f < kWarpFragments; ++f) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          total[r][f][i] = first_part ? part[r][f][i] : total[r][f][i] + part[r][f][i];
          part[r][f][i] = 0;
        }
      }
    }
  }

  if (split) {
    task.out = task.partials + blockIdx.z * task.rows * task.weights.rows;
    task.output = Output::kStore;
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int r = 0; r < kRowFragments; ++r) {
#pragma unroll
    for (int f = 0; f < kWarpFragments; ++f) {
      const int64_t row = first_row + r * kFragmentRows + lane / 4;
      const int64_t col = first_col + warp_col + f * kFragmentCols + lane % 4 * 2;
      Write<Element>(task, row, col, total[r][f][0], total[r][f][1]);
      Write<Element>(task, row + 8, col, total[r][f][2], total[r][f][3]);
    }
  }
}

// Sums the parts, in order. grid [pairs of columns / threads, rows]
template <typename Element>
__global__ void SumPartsKernel(MatMulTask task) {
  const int64_t cols = task.weights.rows;
  const int64_t col = 2 * (int64_t{blockIdx.x} * kMatMulThreads + threadIdx.x);
  const int64_t row = blockIdx.y;
  if (col >= cols) return;
  const bool two = col + 1 < cols;
  const float* part = task.partials + row * cols + col;
  float first = part[0];
  float second = two ? part[1] : 0.0f;
  for (int64_t p = 1; p < NumParts(task.weights.cols); ++p) {
    part += task.rows * cols;
    first += part[0];
    if (two) second += part[1];
  }
  Write<Element>(task, row, col, first, second);
}

// Few rows are computed in tiles of one fragment, many in higher ones: as high as registers allow.
constexpr int ManyFragments(WeightFormat format) { return format == WeightFormat::kF32 ? 2 : 4; }
constexpr int TileRows(int64_t rows, WeightFormat format) {
  return kFragmentRows * (rows <= kFragmentRows ? 1 : ManyFragments(format));
}

template <class Weights, WeightFormat kFormat>
void Multiply(cudaStream_t stream, const MatMulTask& task) {
  const int64_t cols = task.weights.rows;
  const int tile_rows = TileRows(task.rows, kFormat);
  const dim3 grid = Extent(CeilDiv(cols, kTileCols), CeilDiv(task.rows, tile_rows),
                           task.partials != nullptr ? NumParts(task.weights.cols) : 1);
  if (tile_rows == kFragmentRows) {
    Launch(stream, grid, kMatMulThreads, MatMulKernel<Weights, 1>, task);
  } else {
    Launch(stream, grid, kMatMulThreads, MatMulKernel<Weights, ManyFragments(kFormat)>, task);
  }
  if (task.partials == nullptr) return;
  Launch(stream, Extent(CeilDiv(cols, 2 * kMatMulThreads), task.rows), kMatMulThreads,
         SumPartsKernel<typename Weights::Element>, task);
}

}  // namespace

int64_t NumTiles(int64_t rows, const DeviceWeights& weights) {
  return CeilDiv(weights.rows, kTileCols) * CeilDiv(rows, TileRows(rows, weights.format));
}

void MultiplyInOrder(cudaStream_t stream, const MatMulTask& task) {
  if (task.rows == 0) return;
  switch (task.weights.format) {
    case WeightFormat::kF32:
      return Multiply<PlainWeights<float>, WeightFormat::kF32>(stream, task);
    case WeightFormat::kBF16:
      return Multiply<PlainWeights<__nv_bfloat16>, WeightFormat::kBF16>(stream, task);
    case WeightFormat::kF16:
      return Multiply<PlainWeights<__half>, WeightFormat::kF16>(stream, task);
    case WeightFormat::kInt8:
      return Multiply<Int8Weights, WeightFormat::kInt8>(stream, task);
    case WeightFormat::kInt4:
      return Multiply<Int4Weights, WeightFormat::kInt4>(stream, task);
  }
}

}  // namespace strata::kernels::cuda
