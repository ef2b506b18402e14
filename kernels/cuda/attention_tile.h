// The steps of a block of paged attention. For attention_kernels.cu.

#ifndef STRATA_KERNELS_CUDA_ATTENTION_TILE_H_
#define STRATA_KERNELS_CUDA_ATTENTION_TILE_H_

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/device_language.h"

namespace strata::kernels::cuda {

constexpr int kAttentionThreads = 128;
constexpr int kAttentionWarps = kAttentionThreads / kWarp;
constexpr int kTokens = kKvBlockTokens;
static_assert(kTokens == 16 && kPartition % kTokens == 0);

// Queries that a block computes together: rows of a tile times query heads of one KV head.
constexpr int QueriesPerBlock(int head_dim) { return head_dim > 128 ? 8 : 16; }

// Where the [kTokens, head_dim] of a row's KV block and head start.
__device__ __forceinline__ int64_t KvOffset(const DeviceBatch& batch, int sequence,
                                            int block_of_sequence, const AttentionShape& shape,
                                            int kv_head) {
  const int block =
      batch.block_tables[int64_t{sequence} * batch.max_blocks_per_sequence + block_of_sequence];
  return (int64_t{block} * shape.num_kv_heads + kv_head) * kTokens * shape.head_dim;
}

// A row's attention over some of its positions: sum of exp(score - max) * value.
template <int kDims>
struct Partial {
  float max = -INFINITY;
  float total = 0;
  float sum[kDims] = {};

  // Takes in what stands behind it.
  __device__ __forceinline__ void Fold(const Partial& next) {
    const float common = fmaxf(max, next.max);
    const float keep = expf(max - common);
    const float add = expf(next.max - common);
    max = common;
    total = fmaf(next.total, add, total * keep);
    for (int j = 0; j < kDims; ++j) sum[j] = fmaf(next.sum[j], add, sum[j] * keep);
  }
};

// Keys stand an odd number of words apart, so that threads reading one element of each fall into
// different banks.
template <typename Kv>
constexpr int KeyStride(int dims) {
  return dims + 4 / static_cast<int>(sizeof(Kv));
}

// Copies one head's [count, d] keys and values of a KV block. All threads of the block.
template <typename Kv, int kMaxDim>
__device__ __forceinline__ void LoadKvBlock(const Kv* keys, const Kv* values, int count, int d,
                                            Kv* key_tile, Kv* value_tile) {
  constexpr int kPerVector = 16 / sizeof(Kv);
  const int vectors = count * d / kPerVector;
  for (int i = threadIdx.x; i < vectors; i += kAttentionThreads) {
    const int token = i * kPerVector / d;
    const int column = i * kPerVector % d;
    const uint4 key = reinterpret_cast<const uint4*>(keys)[i];
    uint32_t* to = reinterpret_cast<uint32_t*>(key_tile + token * KeyStride<Kv>(kMaxDim) + column);
    to[0] = key.x;
    to[1] = key.y;
    to[2] = key.z;
    to[3] = key.w;
    *reinterpret_cast<uint4*>(value_tile + token * kMaxDim + column) =
        reinterpret_cast<const uint4*>(values)[i];
  }
}

__device__ __forceinline__ float Dot(const float* a, const float* b, int d) {
  float sum = 0;
#pragma unroll 4
  for (int i = 0; i < d; ++i) sum = fmaf(a[i], b[i], sum);
  return sum;
}
// Two neighbours, the first at an even place.
__device__ __forceinline__ float2 TwoToFloat(const __nv_bfloat16* at) {
  const uint32_t two = *reinterpret_cast<const uint32_t*>(at);
  return {__uint_as_float(two << 16), __uint_as_float(two & 0xffff0000u)};
}
__device__ __forceinline__ float2 TwoToFloat(const __half* at) {
  return __half22float2(*reinterpret_cast<const __half2*>(at));
}
template <typename Half>
__device__ __forceinline__ float Dot(const float* a, const Half* b, int d) {
  float sum = 0;
#pragma unroll 4
  for (int i = 0; i < d; i += 2) {
    const float2 two = TwoToFloat(b + i);
    sum = fmaf(a[i], two.x, sum);
    sum = fmaf(a[i + 1], two.y, sum);
  }
  return sum;
}

// The block's queries: some heads, which share a KV head, of some rows.
struct Queries {
  int first_row = 0;
  int num_rows = 0;
  int first_head = 0;
  int num_heads = 0;
  int kv_head = 0;
  int sequence = 0;
  const int* positions = nullptr;  // [num_rows]

  __device__ __forceinline__ int count() const { return num_rows * num_heads; }
  __device__ __forceinline__ int64_t Row(int query) const { return first_row + query / num_heads; }
  __device__ __forceinline__ int Head(int query) const { return first_head + query % num_heads; }
  // How many of the tokens from `begin` on a query sees, at most a KV block's.
  __device__ __forceinline__ int Visible(int query, int begin) const {
    return query < count() ? min(kTokens, positions[query / num_heads] + 1 - begin) : 0;
  }
  // Behind the last position that a query sees.
  __device__ __forceinline__ int End() const {
    int end = 0;
    for (int row = 0; row < num_rows; ++row) end = max(end, positions[row] + 1);
    return end;
  }
};

// grid [tiles, kv_heads * head chunks, ..]
template <int kQueries>
__device__ __forceinline__ Queries QueriesOfBlock(const AttentionTask& task) {
  const int group = task.shape.num_heads / task.shape.num_kv_heads;
  const int chunks = (group + kQueries - 1) / kQueries;
  const RowTile tile = task.tiles[blockIdx.x];
  Queries queries;
  queries.first_row = tile.first_row;
  queries.num_rows = min(tile.num_rows, static_cast<int>(task.rows) - tile.first_row);
  queries.kv_head = static_cast<int>(blockIdx.y) / chunks;
  queries.first_head = queries.kv_head * group + static_cast<int>(blockIdx.y) % chunks * kQueries;
  queries.num_heads = min(kQueries, (queries.kv_head + 1) * group - queries.first_head);
  queries.sequence = task.batch.sequences[tile.first_row];
  queries.positions = task.batch.positions + tile.first_row;
  return queries;
}

// What the block's threads share.
template <typename Kv, int kMaxDim>
struct SharedTiles {
  float* queries;  // [kQueries, kMaxDim]
  Kv* keys;        // [kTokens, KeyStride]
  Kv* values;      // [kTokens, kMaxDim]
  float* scores;   // [kQueries, kTokens]
  float* weights;  // [kQueries, kTokens]: exp(score - max)
  float* maxima;   // [kQueries]: of the scores of the partition so far
  float* decays;   // [kQueries]: what sums up to here are to be multiplied by
};

// The queries, scaled. All threads of the block.
template <typename Kv, int kMaxDim>
__device__ __forceinline__ void LoadQueries(const AttentionTask& task, const Queries& queries,
                                            const SharedTiles<Kv, kMaxDim>& shared) {
  const AttentionShape& shape = task.shape;
  const int d = shape.head_dim;
  const float scale = 1.0f / sqrtf(static_cast<float>(d));
  const int row_floats = (shape.num_heads + 2 * shape.num_kv_heads) * d;
  for (int i = threadIdx.x; i < queries.count() * d; i += kAttentionThreads) {
    const int query = i / d;
    const float* head = task.qkv + queries.Row(query) * row_floats + queries.Head(query) * d;
    shared.queries[query * kMaxDim + i % d] = head[i % d] * scale;
  }
}

// Scores and weights of the KV block for the warp's queries: each half of the warp has a query,
// each of its lanes a token. `max` [kPerWarp / 2]: of the scores so far.
template <typename Kv, int kMaxDim, int kPerWarp>
__device__ __forceinline__ void Weigh(const Queries& queries, int begin, int d,
                                      const SharedTiles<Kv, kMaxDim>& shared,
                                      float (&max)[kPerWarp / 2]) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int half = static_cast<int>(threadIdx.x) % kWarp / kTokens;
  const int token = static_cast<int>(threadIdx.x) % kTokens;
#pragma unroll
  for (int i = 0; i < kPerWarp / 2; ++i) {
    const int query = warp + kAttentionWarps * (2 * i + half);
    if (token < queries.Visible(query, begin)) {
      shared.scores[query * kTokens + token] =
          Dot(shared.queries + query * kMaxDim, shared.keys + token * KeyStride<Kv>(kMaxDim), d);
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kPerWarp / 2; ++i) {
    const int query = warp + kAttentionWarps * (2 * i + half);
    const int count = queries.Visible(query, begin);
    if (count <= 0) continue;
    const float* scores = shared.scores + query * kTokens;
    const float before = max[i];
#pragma unroll 4
    for (int t = 0; t < count; ++t) max[i] = fmaxf(max[i], scores[t]);
    if (token < count) shared.weights[query * kTokens + token] = expf(scores[token] - max[i]);
    if (token == 0) {
      shared.decays[query] = expf(before - max[i]);
      shared.maxima[query] = max[i];
    }
  }
  __syncwarp();
}

// part += the KV block's weighted values for one query; each lane has some elements of the head.
template <typename Kv, int kDims>
__device__ __forceinline__ void SumValues(int query, int count, int d,
                                          const SharedTiles<Kv, kDims * kWarp>& shared,
                                          Partial<kDims>& part) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float decay = shared.decays[query];
  part.max = shared.maxima[query];
  part.total *= decay;
#pragma unroll
  for (int j = 0; j < kDims; ++j) part.sum[j] *= decay;
#pragma unroll 2
  for (int t = 0; t < count; ++t) {
    const float weight = shared.weights[query * kTokens + t];
    const Kv* value = shared.values + t * kDims * kWarp + lane;
    part.total += weight;
#pragma unroll
    for (int j = 0; j < kDims; ++j) {
      if (lane + kWarp * j < d) {
        part.sum[j] = fmaf(weight, ToFloat(value[kWarp * j]), part.sum[j]);
      }
    }
  }
}

// To the output, or to this partition's partial result.
template <typename Kv, int kDims>
__device__ __forceinline__ void WriteResult(const AttentionTask& task, int64_t row, int head_of_row,
                                            const Partial<kDims>& result) {
  const int d = task.shape.head_dim;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t head = row * task.shape.num_heads + head_of_row;
  const bool partial = task.partials != nullptr;
  float* to =
      partial ? task.partials + (head * task.num_partitions + blockIdx.z) * (d + 2) : nullptr;
  if (partial && lane == 0) {
    to[0] = result.max;
    to[1] = result.total;
  }
#pragma unroll
  for (int j = 0; j < kDims; ++j) {
    const int column = lane + kWarp * j;
    if (column >= d) continue;
    if (partial) {
      to[2 + column] = result.sum[j];
    } else {
      static_cast<Kv*>(task.out)[head * d + column] = FromFloat<Kv>(result.sum[j] / result.total);
    }
  }
}

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_ATTENTION_TILE_H_
