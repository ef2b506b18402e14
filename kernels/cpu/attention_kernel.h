// Paged attention over a vector type V: the queries of a few rows and one KV
// head walk their sequence's KV together. Rules of vector_math.h apply.
//
// A query goes the same way whoever walks beside it, so its bits depend on
// nothing but its own past:
//   partitions of kPartitionTokens, each with a softmax of its own, are merged
//   in order of position;
//     a partition's spans of kSpanTokens each update its online softmax once;
//       in a span a score is one chain over the dimensions, and a dimension of
//       the output one chain over the tokens.
// All these bounds are positions. Walking together shares the reading only.

#ifndef STRATA_KERNELS_CPU_ATTENTION_KERNEL_H_
#define STRATA_KERNELS_CPU_ATTENTION_KERNEL_H_

#include "kernels/cpu/attention_span.h"
#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

static_assert(kPartitionTokens % kSpanTokens == 0);

template <class V>
STRATA_INLINE void Clear(Partial s, int64_t d) {
  s.max() = -FLT_MAX;
  s.sum() = 0.0f;
  for (int64_t j = 0; j < d; j += V::kWidth) V::Store(s.acc() + j, V::Set1(0.0f));
}

// Adds what a later partition has gathered.
template <class V>
STRATA_INLINE void Merge(Partial part, int64_t d, Partial total) {
  const float max = part.max() > total.max() ? part.max() : total.max();
  alignas(64) float old_scale[V::kWidth];
  alignas(64) float scale[V::kWidth];
  V::Store(old_scale, Exp<V>(V::Set1(total.max() - max)));
  V::Store(scale, Exp<V>(V::Set1(part.max() - max)));
  total.max() = max;
  total.sum() = total.sum() * old_scale[0] + part.sum() * scale[0];
  for (int64_t j = 0; j < d; j += V::kWidth) {
    const typename V::T old = V::Mul(V::Load(total.acc() + j), V::Load(old_scale));
    V::Store(total.acc() + j, V::Fma(V::Load(part.acc() + j), V::Load(scale), old));
  }
}

// Writes query n of the task's [rows, group].
template <class V, class Operand>
STRATA_INLINE void Finish(const AttentionTask& t, int64_t n, Partial total) {
  const int64_t row = n / t.group;
  Operand* out = static_cast<Operand*>(t.out) + row * t.out_stride + n % t.group * t.head_dim;
  for (int64_t j = 0; j < t.head_dim; j += V::kWidth) {
    StoreAny<V>(out + j, V::Div(V::Load(total.acc() + j), V::Set1(total.sum())));
  }
}

// Queries [first, first + count) of the task's [rows, group].
template <class V>
void BeginWalk(const AttentionTask& t, int64_t first, int64_t count, float* partials, Walk& w) {
  w.count = count;
  w.head_dim = t.head_dim;
  w.end = 0;
  w.partials = partials;
  for (int64_t n = 0; n < count; ++n) {
    const int64_t row = (first + n) / t.group;
    const float* q = t.queries + row * t.query_stride + (first + n) % t.group * t.head_dim;
    for (int64_t j = 0; j < t.head_dim; j += V::kWidth) {
      V::Store(w.q[n] + j, V::Mul(V::Load(q + j), V::Set1(t.scale)));
    }
    w.limits[n] = int64_t{t.positions[row]} + 1;
    w.end = Most(w.end, w.limits[n]);
  }
}

// Over positions [begin, end), which lie in one partition.
template <class V, class Kv>
void WalkPartition(const AttentionTask& t, int64_t begin, int64_t end, Walk& w) {
  const auto tile_at = [&](int64_t tile) {
    const int64_t block = t.block_table[tile];
    return reinterpret_cast<const Kv*>(static_cast<const char*>(t.kv) + block * t.block_stride);
  };
  const int64_t values_at = kTileTokens * t.head_dim;
  const int64_t last_tile = (w.end - 1) / kTileTokens;
  for (int64_t n = 0; n < w.count; ++n) Clear<V>(w.partial(n), t.head_dim);
  for (w.start = begin; w.start < end; w.start += kSpanTokens) {
    Tiles<Kv, Kv> keys = {};
    Tiles<Kv, Kv> values = {};
    for (int64_t j = 0; j < kSpanTiles; ++j) {
      const int64_t tile = w.start / kTileTokens + j;
      keys.next[j] = tile_at(Least(tile + kSpanTiles, last_tile));
      values.next[j] = keys.next[j] + values_at;
      if (tile * kTileTokens >= end) continue;
      keys.at[j] = tile_at(tile);
      values.at[j] = keys.at[j] + values_at;
    }
    RunHalf<V, KeysHalf>(keys, w);
    RunHalf<V, ValuesHalf>(values, w);
  }
}

template <class V, class Kv, class Operand>
void Attend(const AttentionTask& t) {
  const int64_t d = t.head_dim;
  const int64_t queries = t.rows * t.group;
  alignas(64) float parts[kMaxQueries * PartialFloats(kMaxHeadDim)];
  alignas(64) float totals[kMaxQueries * PartialFloats(kMaxHeadDim)];
  const auto total = [&](int64_t n) { return Partial{totals + n * PartialFloats(d)}; };
  Walk w;
  for (int64_t first = 0; first < queries; first += kMaxQueries) {
    BeginWalk<V>(t, first, Least(queries - first, kMaxQueries), parts, w);
    for (int64_t n = 0; n < w.count; ++n) Clear<V>(total(n), d);
    for (int64_t begin = 0; begin < w.end; begin += kPartitionTokens) {
      WalkPartition<V, Kv>(t, begin, Least(w.end, begin + kPartitionTokens), w);
      for (int64_t n = 0; n < w.count; ++n) {
        if (begin < w.limits[n]) Merge<V>(w.partial(n), d, total(n));
      }
    }
    for (int64_t n = 0; n < w.count; ++n) Finish<V, Operand>(t, first + n, total(n));
  }
}

template <class V, class Kv>
void AttendPartition(const AttentionTask& t, int64_t partition, float* partials) {
  const int64_t queries = t.rows * t.group;
  const int64_t begin = partition * kPartitionTokens;
  Walk w;
  for (int64_t first = 0; first < queries; first += kMaxQueries) {
    BeginWalk<V>(t, first, Least(queries - first, kMaxQueries),
                 partials + (partition * queries + first) * PartialFloats(t.head_dim), w);
    w.end = Least(w.end, begin + kPartitionTokens);
    WalkPartition<V, Kv>(t, begin, w.end, w);
  }
}

template <class V, class Operand>
void MergePartitions(const AttentionTask& t, float* partials) {
  const int64_t d = t.head_dim;
  const int64_t queries = t.rows * t.group;
  alignas(64) float total[PartialFloats(kMaxHeadDim)];
  for (int64_t n = 0; n < queries; ++n) {
    Clear<V>({total}, d);
    for (int64_t p = 0; p <= t.positions[n / t.group] / kPartitionTokens; ++p) {
      Merge<V>({partials + (p * queries + n) * PartialFloats(d)}, d, {total});
    }
    Finish<V, Operand>(t, n, {total});
  }
}

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_ATTENTION_KERNEL_H_
