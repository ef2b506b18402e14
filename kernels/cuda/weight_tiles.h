// How a tile of weights comes from each format into shared memory. For mat_mul_kernels.cu.
//
// Each format gives Element (of both tiles in shared memory), kScaledGroup (elements of K that
// share a scale; 0: none), and in two steps, between which the last tile is computed with,
//   Fetch   a thread's share of columns [col, col + kTileCols) and K [k, k + kChunk) to registers
//   Store   these to shared memory, what is beyond the matrix as zero

#ifndef STRATA_KERNELS_CUDA_WEIGHT_TILES_H_
#define STRATA_KERNELS_CUDA_WEIGHT_TILES_H_

#include "kernels/cuda/device_language.h"
#include "kernels/cuda/mat_mul_kernels.h"

namespace strata::kernels::cuda {

constexpr int kTileCols = 64;  // of the output
constexpr int kChunk = 64;     // of K, in shared memory at once
constexpr int kMatMulThreads = 128;
constexpr int kMaxScaledGroups = 2;  // of a chunk

// Elements from a row of a tile to the next: 16 bytes more than a chunk, so that the rows that
// a warp reads together fall into different banks.
template <typename Element>
constexpr int kTileStride = kChunk + 16 / static_cast<int>(sizeof(Element));

// A thread's share of [kRows, kChunk] elements of a matrix [num_rows, k].
template <typename Element, int kRows>
struct PlainTile {
  static constexpr int kPerVector = 16 / sizeof(Element);
  static constexpr int kVectorsPerRow = kChunk / kPerVector;
  static constexpr int kVectors = kRows * kVectorsPerRow / kMatMulThreads;
  uint4 vectors[kVectors];

  __device__ __forceinline__ void Fetch(const Element* matrix, int64_t num_rows, int64_t k,
                                        int64_t first_row, int64_t first_k) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * kMatMulThreads;
      const int64_t row = first_row + v / kVectorsPerRow;
      const int64_t column = first_k + v % kVectorsPerRow * kPerVector;
      const bool inside = row < num_rows && column < k;
      vectors[i] = inside ? *reinterpret_cast<const uint4*>(matrix + row * k + column) : uint4{};
    }
  }
  __device__ __forceinline__ void Store(Element* tile) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * kMatMulThreads;
      *reinterpret_cast<uint4*>(tile + v / kVectorsPerRow * kTileStride<Element> +
                                v % kVectorsPerRow * kPerVector) = vectors[i];
    }
  }
};

template <typename T>
struct PlainWeights {
  using Element = T;
  static constexpr int kScaledGroup = 0;
  PlainTile<T, kTileCols> tile;

  __device__ __forceinline__ void Fetch(const DeviceWeights& w, int64_t col, int64_t k) {
    tile.Fetch(static_cast<const T*>(w.values), w.rows, w.cols, col, k);
  }
  __device__ __forceinline__ void Store(T* to, float*) const { tile.Store(to); }
};

// Small integers are exact in bf16.
__device__ __forceinline__ uint32_t TwoBf16(int low, int high) {
  return __float_as_uint(static_cast<float>(low)) >> 16 |
         (__float_as_uint(static_cast<float>(high)) & 0xffff0000u);
}

struct Int8Weights {
  using Element = __nv_bfloat16;
  static constexpr int kScaledGroup = 64;
  static constexpr int kPerVector = 16;
  static constexpr int kVectorsPerRow = kChunk / kPerVector;
  static constexpr int kVectors = kTileCols * kVectorsPerRow / kMatMulThreads;
  static_assert(kChunk == kScaledGroup);
  uint4 vectors[kVectors];
  float scale;

  __device__ __forceinline__ void Fetch(const DeviceWeights& w, int64_t col, int64_t k) {
    const int64_t groups = (w.cols + kScaledGroup - 1) / kScaledGroup;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * kMatMulThreads;
      const int64_t row = col + v / kVectorsPerRow;
      const int64_t at = row * groups * kScaledGroup + k + v % kVectorsPerRow * kPerVector;
      vectors[i] = row < w.rows && k < w.cols
                       ? *reinterpret_cast<const uint4*>(static_cast<const int8_t*>(w.values) + at)
                       : uint4{};
    }
    const int64_t row = col + threadIdx.x;
    const bool inside = threadIdx.x < kTileCols && row < w.rows && k < w.cols;
    scale =
        inside
            ? ToFloat(static_cast<const __nv_bfloat16*>(w.scales)[row * groups + k / kScaledGroup])
            : 0.0f;
  }
  __device__ __forceinline__ void Store(__nv_bfloat16* tile, float* scales) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * kMatMulThreads;
      uint4* to = reinterpret_cast<uint4*>(tile + v / kVectorsPerRow * kTileStride<__nv_bfloat16> +
                                           v % kVectorsPerRow * kPerVector);
      const uint32_t words[4] = {vectors[i].x, vectors[i].y, vectors[i].z, vectors[i].w};
      uint32_t twos[8];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const auto byte = [&](int b) { return static_cast<int8_t>(words[j] >> (8 * b)); };
        twos[2 * j] = TwoBf16(byte(0), byte(1));
        twos[2 * j + 1] = TwoBf16(byte(2), byte(3));
      }
      to[0] = {twos[0], twos[1], twos[2], twos[3]};
      to[1] = {twos[4], twos[5], twos[6], twos[7]};
    }
    if (threadIdx.x < kTileCols) scales[threadIdx.x] = scale;
  }
};

struct Int4Weights {
  using Element = __nv_bfloat16;
  static constexpr int kScaledGroup = 32;
  static_assert(kTileCols * kChunk / kScaledGroup == kMatMulThreads);
  uint4 nibbles;  // of one group, which is this thread's
  float scale;
  int zero;

  __device__ __forceinline__ void Fetch(const DeviceWeights& w, int64_t col, int64_t k) {
    const int64_t groups = (w.cols + kScaledGroup - 1) / kScaledGroup;
    const int64_t row = col + threadIdx.x / kMaxScaledGroups;
    const int64_t group = k / kScaledGroup + threadIdx.x % kMaxScaledGroups;
    const int64_t at = row * groups + group;
    nibbles = {};
    scale = 0;
    zero = 0;
    if (row >= w.rows || group >= groups) return;
    nibbles = static_cast<const uint4*>(w.values)[at];
    scale = w.row_scales[row] * static_cast<float>(w.codes[2 * at]);
    zero = w.codes[2 * at + 1];
  }
  __device__ __forceinline__ void Store(__nv_bfloat16* tile, float* scales) const {
    const int col = static_cast<int>(threadIdx.x) / kMaxScaledGroups;
    const int group = static_cast<int>(threadIdx.x) % kMaxScaledGroups;
    uint4* to =
        reinterpret_cast<uint4*>(tile + col * kTileStride<__nv_bfloat16> + group * kScaledGroup);
    const uint32_t words[4] = {nibbles.x, nibbles.y, nibbles.z, nibbles.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const auto value = [&](int i) {
        const int shift = i < 4 ? 8 * i : 8 * (i - 4) + 4;
        return 16 * static_cast<int>(words[j] >> shift & 15) - zero;
      };
      to[j] = {TwoBf16(value(0), value(1)), TwoBf16(value(2), value(3)),
               TwoBf16(value(4), value(5)), TwoBf16(value(6), value(7))};
    }
    scales[group * kTileCols + col] = scale;
  }
};

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_WEIGHT_TILES_H_
