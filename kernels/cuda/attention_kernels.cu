#include <algorithm>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/attention_tile.h"
#include "kernels/cuda/launch.h"

namespace strata::kernels::cuda {
namespace {

constexpr int kThreads = kAttentionThreads;
constexpr int kWarps = kAttentionWarps;

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

// grid [tiles, kv_heads * head chunks, partitions or 1]. kDims: elements of a head in each lane.
// A warp has every kWarps-th query.
template <typename Kv, int kDims>
__global__ void __launch_bounds__(kThreads, 3) AttentionKernel(AttentionTask task) {
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
  const SharedTiles<Kv, kMaxDim> shared = {query_tile, key_tile, value_tile, scores,
                                           weights,    maxima,   decays};

  const int d = task.shape.head_dim;
  const Queries queries = QueriesOfBlock<kQueries>(task);
  const bool partial = task.partials != nullptr;
  const int first = partial ? static_cast<int>(blockIdx.z) * kPartition : 0;
  if (queries.num_rows <= 0 || first >= queries.End()) return;
  const int end = partial ? min(queries.End(), first + kPartition) : queries.End();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  LoadQueries(task, queries, shared);

  Partial<kDims> all[kPerWarp];   // of the partitions behind
  Partial<kDims> part[kPerWarp];  // of this one
  float max[kPerWarp / 2];
  for (int begin = first; begin < end; begin += kTokens) {
    if (begin % kPartition == 0) {
      for (Partial<kDims>& p : part) p = Partial<kDims>();
      for (float& m : max) m = -INFINITY;
    }
    const int64_t at =
        KvOffset(task.batch, queries.sequence, begin / kTokens, task.shape, queries.kv_head);
    __syncthreads();
    LoadKvBlock<Kv, kMaxDim>(static_cast<const Kv*>(task.kv.keys) + at,
                             static_cast<const Kv*>(task.kv.values) + at, min(kTokens, end - begin),
                             d, key_tile, value_tile);
    __syncthreads();
    Weigh<Kv, kMaxDim, kPerWarp>(queries, begin, d, shared, max);
    const int partition = begin / kPartition * kPartition;
    const bool ends_partition = begin + kTokens == partition + kPartition || begin + kTokens >= end;
#pragma unroll
    for (int i = 0; i < kPerWarp; ++i) {
      const int query = warp + kWarps * i;
      const int count = queries.Visible(query, begin);
      if (count > 0) SumValues<Kv, kDims>(query, count, d, shared, part[i]);
      if (!ends_partition || queries.Visible(query, partition) <= 0) continue;
      if (partition == first) {
        all[i] = part[i];
      } else {
        all[i].Fold(part[i]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kPerWarp; ++i) {
    const int query = warp + kWarps * i;
    if (queries.Visible(query, first) <= 0) continue;
    WriteResult<Kv, kDims>(task, queries.Row(query), queries.Head(query), all[i]);
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
  WithType(kv.dtype, [&](auto element) {
    using Kv = decltype(element);
    Launch(stream, Extent(rows), kThreads, AppendKernel<Kv>, qkv, shape, rope, batch,
           static_cast<Kv*>(kv.keys), static_cast<Kv*>(kv.values));
  });
}

void Attend(cudaStream_t stream, const AttentionTask& task) {
  if (task.rows == 0) return;
  WithType(task.kv.dtype, [&](auto element) { AttendAs<decltype(element)>(stream, task); });
}

}  // namespace strata::kernels::cuda
