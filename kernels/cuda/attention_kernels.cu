#include <algorithm>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/device_language.h"
#include "kernels/cuda/launch.h"

namespace strata::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTokens = kKvBlockTokens;
static_assert(kTokens == 16 && kPartition % kTokens == 0);

// Queries that a block computes together: rows of a tile times query heads of one KV head.
constexpr int QueriesPerBlock(int head_dim) { return head_dim > 128 ? 8 : 16; }

// Where the [kTokens, head_dim] of a row's KV block and head start.
__device__ int64_t KvOffset(const DeviceBatch& batch, int sequence, int block_of_sequence,
                            const AttentionShape& shape, int kv_head) {
  const int block =
      batch.block_tables[int64_t{sequence} * batch.max_blocks_per_sequence + block_of_sequence];
  return (int64_t{block} * shape.num_kv_heads + kv_head) * kTokens * shape.head_dim;
}

template <typename Kv>
__global__ void AppendKernel(float* qkv, AttentionShape shape, RopeTable rope, DeviceBatch batch,
                             Kv* keys, Kv* values) {
  const int row = static_cast<int>(blockIdx.x);
  const int d = shape.head_dim;
  const int half = d / 2;
  const int position = batch.positions[row];
  const int sequence = batch.sequences[row];
  const int slot = position % kTokens;
  float* heads = qkv + int64_t{row} * (shape.num_heads + 2 * shape.num_kv_heads) * d;
  const float* cosines = rope.cos + int64_t{position} * half;
  const float* sines = rope.sin + int64_t{position} * half;
  // Queries and keys stand side by side, and both are rotated.
  for (int i = threadIdx.x; i < (shape.num_heads + shape.num_kv_heads) * half; i += kThreads) {
    const int head = i / half;
    const int pair = i % half;
    float* x = heads + head * d + pair;
    const float low = x[0] * cosines[pair] - x[half] * sines[pair];
    const float high = x[half] * cosines[pair] + x[0] * sines[pair];
    if (head < shape.num_heads) {
      x[0] = low;
      x[half] = high;
    } else {
      const int64_t at =
          KvOffset(batch, sequence, position / kTokens, shape, head - shape.num_heads);
      keys[at + slot * d + pair] = FromFloat<Kv>(low);
      keys[at + slot * d + pair + half] = FromFloat<Kv>(high);
    }
  }
  const float* from = heads + (shape.num_heads + shape.num_kv_heads) * d;
  for (int i = threadIdx.x; i < shape.num_kv_heads * d; i += kThreads) {
    const int64_t at = KvOffset(batch, sequence, position / kTokens, shape, i / d);
    values[at + slot * d + i % d] = FromFloat<Kv>(from[i]);
  }
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
__device__ void LoadKvBlock(const Kv* keys, const Kv* values, int count, int d, Kv* key_tile,
                            Kv* value_tile) {
  constexpr int kPerVector = 16 / sizeof(Kv);
  const int vectors = count * d / kPerVector;
  for (int i = threadIdx.x; i < vectors; i += kThreads) {
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
  for (int i = 0; i < d; ++i) sum = fmaf(a[i], b[i], sum);
  return sum;
}
__device__ __forceinline__ float Dot(const float* a, const __nv_bfloat16* b, int d) {
  float sum = 0;
  for (int i = 0; i < d; i += 2) {
    const uint32_t two = *reinterpret_cast<const uint32_t*>(b + i);
    sum = fmaf(a[i], __uint_as_float(two << 16), sum);
    sum = fmaf(a[i + 1], __uint_as_float(two & 0xffff0000u), sum);
  }
  return sum;
}

// grid [tiles, kv_heads * head chunks, partitions or 1]. kDims: elements of a head in each lane.
//
// A warp has every kWarps-th query. In a KV block of 16 tokens its halves first compute the
// scores of a query each, a token a lane; then all lanes sum the values, an element a lane.
template <typename Kv, int kDims>
__global__ void __launch_bounds__(kThreads, 4) AttentionKernel(AttentionTask task) {
  constexpr int kMaxDim = kDims * kWarp;
  constexpr int kQueries = QueriesPerBlock(kMaxDim);
  constexpr int kPerWarp = kQueries / kWarps;
  STRATA_SHARED(float, query_tile, kQueries* kMaxDim);
  STRATA_SHARED(Kv, key_tile, kTokens * KeyStride<Kv>(kMaxDim));
  STRATA_SHARED(Kv, value_tile, kTokens * kMaxDim);
  STRATA_SHARED(float, scores, kQueries* kTokens);
  STRATA_SHARED(float, weights, kQueries* kTokens);
  STRATA_SHARED(float, maxima, kQueries);
  STRATA_SHARED(float, decays, kQueries);

  const AttentionShape shape = task.shape;
  const int d = shape.head_dim;
  const int group = shape.num_heads / shape.num_kv_heads;
  const int chunks = (group + kQueries - 1) / kQueries;
  const int kv_head = static_cast<int>(blockIdx.y) / chunks;
  const int first_head = kv_head * group + static_cast<int>(blockIdx.y) % chunks * kQueries;
  const int num_heads = min(kQueries, (kv_head + 1) * group - first_head);
  const RowTile tile = task.tiles[blockIdx.x];
  const int num_rows = min(tile.num_rows, static_cast<int>(task.rows) - tile.first_row);
  if (num_rows <= 0) return;
  const int num_queries = num_rows * num_heads;
  const int sequence = task.batch.sequences[tile.first_row];
  const int* positions = task.batch.positions + tile.first_row;
  int end = 0;
  for (int r = 0; r < num_rows; ++r) end = max(end, positions[r] + 1);
  const int first = task.partials != nullptr ? static_cast<int>(blockIdx.z) * kPartition : 0;
  if (first >= end) return;
  if (task.partials != nullptr) end = min(end, first + kPartition);

  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float scale = 1.0f / sqrtf(static_cast<float>(d));
  const int row_floats = (shape.num_heads + 2 * shape.num_kv_heads) * d;
  for (int i = threadIdx.x; i < num_queries * d; i += kThreads) {
    const int query = i / d;
    const int64_t row = tile.first_row + query / num_heads;
    const int head = first_head + query % num_heads;
    query_tile[query * kMaxDim + i % d] = task.qkv[row * row_floats + head * d + i % d] * scale;
  }

  Partial<kDims> all[kPerWarp];   // of the partitions behind
  Partial<kDims> part[kPerWarp];  // of this one
  float score_max[kPerWarp / 2];  // of the query whose scores this half computes
  for (float& max : score_max) max = -INFINITY;
  // How many of the tokens from `begin` on a query sees.
  const auto visible = [&](int query, int begin) {
    return query < num_queries ? min(kTokens, positions[query / num_heads] + 1 - begin) : 0;
  };

  for (int begin = first; begin < end; begin += kTokens) {
    const int64_t at = KvOffset(task.batch, sequence, begin / kTokens, shape, kv_head);
    __syncthreads();
    LoadKvBlock<Kv, kMaxDim>(static_cast<const Kv*>(task.kv.keys) + at,
                             static_cast<const Kv*>(task.kv.values) + at, min(kTokens, end - begin),
                             d, key_tile, value_tile);
    __syncthreads();
    const int token = lane % kTokens;
#pragma unroll
    for (int i = 0; i < kPerWarp / 2; ++i) {
      const int query = warp + kWarps * (2 * i + lane / kTokens);
      if (token < visible(query, begin)) {
        scores[query * kTokens + token] =
            Dot(query_tile + query * kMaxDim, key_tile + token * KeyStride<Kv>(kMaxDim), d);
      }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kPerWarp / 2; ++i) {
      const int query = warp + kWarps * (2 * i + lane / kTokens);
      const int count = visible(query, begin);
      if (count <= 0) continue;
      float max = score_max[i];
      for (int t = 0; t < count; ++t) max = fmaxf(max, scores[query * kTokens + t]);
      if (token < count) {
        weights[query * kTokens + token] = expf(scores[query * kTokens + token] - max);
      }
      if (token == 0) {
        decays[query] = expf(score_max[i] - max);
        maxima[query] = max;
      }
      score_max[i] = max;
    }
    __syncwarp();
    const bool ends_partition = (begin + kTokens) % kPartition == 0 || begin + kTokens >= end;
#pragma unroll
    for (int i = 0; i < kPerWarp; ++i) {
      const int query = warp + kWarps * i;
      const int count = visible(query, begin);
      if (count > 0) {
        const float decay = decays[query];
        part[i].max = maxima[query];
        part[i].total *= decay;
#pragma unroll
        for (int j = 0; j < kDims; ++j) part[i].sum[j] *= decay;
        for (int t = 0; t < count; ++t) {
          const float weight = weights[query * kTokens + t];
          part[i].total += weight;
#pragma unroll
          for (int j = 0; j < kDims; ++j) {
            if (lane + kWarp * j < d) {
              part[i].sum[j] =
                  fmaf(weight, ToFloat(value_tile[t * kMaxDim + lane + kWarp * j]), part[i].sum[j]);
            }
          }
        }
      }
      const int partition_begin = begin / kPartition * kPartition;
      if (ends_partition && visible(query, partition_begin) > 0) {
        if (partition_begin == first) {
          all[i] = part[i];
        } else {
          all[i].Fold(part[i]);
        }
      }
      if (ends_partition) part[i] = Partial<kDims>();
    }
    if (ends_partition) {
      for (float& max : score_max) max = -INFINITY;
    }
  }

#pragma unroll
  for (int i = 0; i < kPerWarp; ++i) {
    const int query = warp + kWarps * i;
    if (visible(query, first) <= 0) continue;
    const int64_t row = tile.first_row + query / num_heads;
    const int64_t head = row * shape.num_heads + first_head + query % num_heads;
    float* partial = task.partials == nullptr
                         ? nullptr
                         : task.partials + (head * task.num_partitions + blockIdx.z) * (d + 2);
    if (partial != nullptr && lane == 0) {
      partial[0] = all[i].max;
      partial[1] = all[i].total;
    }
#pragma unroll
    for (int j = 0; j < kDims; ++j) {
      const int column = lane + kWarp * j;
      if (column >= d) continue;
      if (partial != nullptr) {
        partial[2 + column] = all[i].sum[j];
      } else {
        static_cast<Kv*>(task.out)[head * d + column] = FromFloat<Kv>(all[i].sum[j] / all[i].total);
      }
    }
  }
}

// grid [rows, heads], a block of one thread per element of a head.
template <typename Out>
__global__ void FoldKernel(AttentionTask task) {
  const int d = task.shape.head_dim;
  const int column = static_cast<int>(threadIdx.x);
  const int64_t head = int64_t{blockIdx.x} * task.shape.num_heads + blockIdx.y;
  const int count = task.batch.positions[blockIdx.x] / kPartition + 1;
  Partial<1> all;
  for (int p = 0; p < count; ++p) {
    const float* partial = task.partials + (head * task.num_partitions + p) * (d + 2);
    Partial<1> part;
    part.max = partial[0];
    part.total = partial[1];
    part.sum[0] = partial[2 + column];
    if (p == 0) {
      all = part;
    } else {
      all.Fold(part);
    }
  }
  static_cast<Out*>(task.out)[head * d + column] = FromFloat<Out>(all.sum[0] / all.total);
}

template <typename Kv>
void AttendAs(cudaStream_t stream, const AttentionTask& task) {
  const AttentionShape& shape = task.shape;
  const int64_t chunks =
      CeilDiv(shape.num_heads / shape.num_kv_heads, QueriesPerBlock(shape.head_dim));
  const dim3 grid = Extent(task.num_tiles, shape.num_kv_heads * chunks,
                           task.partials != nullptr ? task.num_partitions : 1);
  const auto launch = [&](auto kernel) { Launch(stream, grid, kThreads, kernel, task); };
  switch (CeilDiv(shape.head_dim, kWarp)) {
    case 1:
      launch(AttentionKernel<Kv, 1>);
      break;
    case 2:
      launch(AttentionKernel<Kv, 2>);
      break;
    case 3:
    case 4:
      launch(AttentionKernel<Kv, 4>);
      break;
    default:
      launch(AttentionKernel<Kv, 8>);
  }
  if (task.partials != nullptr) {
    Launch(stream, Extent(task.rows, shape.num_heads), Extent(shape.head_dim), FoldKernel<Kv>,
           task);
  }
}

}  // namespace

int MaxTileRows(const AttentionShape& shape) {
  return std::max(1, QueriesPerBlock(shape.head_dim) / (shape.num_heads / shape.num_kv_heads));
}

void AppendKv(cudaStream_t stream, float* qkv, int64_t rows, const AttentionShape& shape,
              const RopeTable& rope, const DeviceBatch& batch, const KvLayer& kv) {
  if (rows == 0) return;
  if (kv.dtype == DType::kF32) {
    Launch(stream, Extent(rows), kThreads, AppendKernel<float>, qkv, shape, rope, batch,
           static_cast<float*>(kv.keys), static_cast<float*>(kv.values));
  } else {
    Launch(stream, Extent(rows), kThreads, AppendKernel<__nv_bfloat16>, qkv, shape, rope, batch,
           static_cast<__nv_bfloat16*>(kv.keys), static_cast<__nv_bfloat16*>(kv.values));
  }
}

void Attend(cudaStream_t stream, const AttentionTask& task) {
  if (task.rows == 0) return;
  if (task.kv.dtype == DType::kF32) {
    AttendAs<float>(stream, task);
  } else {
    AttendAs<__nv_bfloat16>(stream, task);
  }
}

}  // namespace strata::kernels::cuda
