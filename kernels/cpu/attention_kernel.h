// Paged attention of one row and one KV head over a vector type V: walks the
// KV blocks in order of position with an online softmax in f32, so a row's
// result depends on nothing but its own past. Rules of vector_math.h apply.

#ifndef STRATA_KERNELS_CPU_ATTENTION_KERNEL_H_
#define STRATA_KERNELS_CPU_ATTENTION_KERNEL_H_

#include <float.h>

#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

constexpr int kHeadsAtOnce = 4;

// Keys of dimensions 2 i and 2 i + 1, tokens [first, first + kWidth).
template <class V>
STRATA_INLINE void LoadKeyPairs(const float* k, int64_t i, int64_t first, typename V::T* even,
                                typename V::T* odd) {
  *even = V::Load(k + 2 * i * kTileTokens + first);
  *odd = V::Load(k + (2 * i + 1) * kTileTokens + first);
}
template <class V>
STRATA_INLINE void LoadKeyPairs(const uint16_t* k, int64_t i, int64_t first, typename V::T* even,
                                typename V::T* odd) {
  V::LoadBf16Pairs(k + 2 * (i * kTileTokens + first), even, odd);
}

// The query heads that pass over the KV together, and their running softmax.
template <int kHeads>
struct SoftmaxState {
  alignas(64) float q[kHeads][kMaxHeadDim];    // scaled queries
  alignas(64) float acc[kHeads][kMaxHeadDim];  // sum of p * V
  alignas(64) float p[kHeads][kTileTokens];    // scores, then weights of one block
  float max[kHeads];
  float sum[kHeads];
  float rescale[kHeads];
};

// s.p = q K^T for the 16 tokens of a tile, in two chains (even and odd
// dimensions) per token.
template <class V, class Kv, int kHeads>
STRATA_INLINE void Scores(const Kv* k_tile, int64_t head_dim, SoftmaxState<kHeads>& s) {
  for (int first = 0; first < kTileTokens; first += V::kWidth) {
    typename V::T even_sum[kHeads];
    typename V::T odd_sum[kHeads];
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) even_sum[h] = odd_sum[h] = V::Set1(0.0f);
    for (int64_t i = 0; i < head_dim / 2; ++i) {
      typename V::T even;
      typename V::T odd;
      LoadKeyPairs<V>(k_tile, i, first, &even, &odd);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
        even_sum[h] = V::Fma(even, V::Set1(s.q[h][2 * i]), even_sum[h]);
        odd_sum[h] = V::Fma(odd, V::Set1(s.q[h][2 * i + 1]), odd_sum[h]);
      }
    }
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) V::Store(s.p[h] + first, V::Add(even_sum[h], odd_sum[h]));
  }
}

// Scores of one head become weights; its max and sum move on. Only the first
// `count` tokens exist: whatever the others' slots hold is overwritten.
template <class V, int kHeads>
STRATA_INLINE void UpdateSoftmax(int h, int64_t count, SoftmaxState<kHeads>& s) {
  float* p = s.p[h];
  for (int64_t t = count; t < kTileTokens; ++t) p[t] = -FLT_MAX;
  typename V::T top = V::Set1(s.max[h]);
  for (int c = 0; c < kTileTokens; c += V::kWidth) top = V::Max(top, V::Load(p + c));
  const float max = V::ReduceMax(top);
  for (int c = 0; c < kTileTokens; c += V::kWidth) {
    V::Store(p + c, Exp<V>(V::Sub(V::Load(p + c), V::Set1(max))));
  }
  for (int64_t t = count; t < kTileTokens; ++t) p[t] = 0.0f;
  typename V::T total = V::Load(p);
  for (int c = V::kWidth; c < kTileTokens; c += V::kWidth) total = V::Add(total, V::Load(p + c));
  alignas(64) float rescale[V::kWidth];
  V::Store(rescale, Exp<V>(V::Set1(s.max[h] - max)));
  s.rescale[h] = rescale[0];
  s.sum[h] = s.sum[h] * rescale[0] + V::ReduceAdd(total);
  s.max[h] = max;
}

// acc = acc * rescale + p V for dimensions [first, first + kVectors * kWidth).
template <class V, class Kv, int kHeads, int kVectors>
STRATA_INLINE void MixColumns(const Kv* v_tile, int64_t head_dim, int64_t count, int64_t first,
                              SoftmaxState<kHeads>& s) {
  typename V::T sum[kHeads][kVectors];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) {
      sum[h][c] = V::Mul(V::Load(s.acc[h] + first + c * V::kWidth), V::Set1(s.rescale[h]));
    }
  }
  for (int64_t t = 0; t < count; ++t) {
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) {
      const typename V::T v = LoadAny<V>(v_tile + t * head_dim + first + c * V::kWidth);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) sum[h][c] = V::Fma(V::Set1(s.p[h][t]), v, sum[h][c]);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) V::Store(s.acc[h] + first + c * V::kWidth, sum[h][c]);
  }
}

template <class V, class Kv, int kHeads>
STRATA_INLINE void MixValues(const Kv* v_tile, int64_t head_dim, int64_t count,
                             SoftmaxState<kHeads>& s) {
  // As many independent sums as the registers hold without spilling.
  constexpr int kVectors = kHeads >= 4 ? 2 : 4;
  int64_t j = 0;
  for (; j + kVectors * V::kWidth <= head_dim; j += kVectors * V::kWidth) {
    MixColumns<V, Kv, kHeads, kVectors>(v_tile, head_dim, count, j, s);
  }
  for (; j < head_dim; j += V::kWidth) {
    MixColumns<V, Kv, kHeads, 1>(v_tile, head_dim, count, j, s);
  }
}

inline void PrefetchTile(const char* tile, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(tile + i);
}

// Query heads [first, first + kHeads) of the task.
template <class V, class Kv, class Operand, int kHeads>
__attribute__((noinline)) void AttendHeads(const AttentionTask& t, int64_t first) {
  SoftmaxState<kHeads> s;
  const int64_t d = t.head_dim;
  for (int h = 0; h < kHeads; ++h) {
    for (int64_t j = 0; j < d; j += V::kWidth) {
      const typename V::T q = V::Load(t.queries + (first + h) * d + j);
      V::Store(s.q[h] + j, V::Mul(q, V::Set1(t.scale)));
      V::Store(s.acc[h] + j, V::Set1(0.0f));
    }
    s.max[h] = -FLT_MAX;
    s.sum[h] = 0.0f;
  }
  const char* kv = static_cast<const char*>(t.kv);
  const int64_t tile_bytes = 2 * kTileTokens * d * static_cast<int64_t>(sizeof(Kv));
  const int64_t last = t.position / kTileTokens;
  for (int64_t block = 0; block <= last; ++block) {
    const char* tile = kv + t.block_table[block] * t.block_stride;
    if (block < last) PrefetchTile(kv + t.block_table[block + 1] * t.block_stride, tile_bytes);
    const Kv* k_tile = reinterpret_cast<const Kv*>(tile);
    const int64_t count = block < last ? kTileTokens : t.position % kTileTokens + 1;
    Scores<V>(k_tile, d, s);
    for (int h = 0; h < kHeads; ++h) UpdateSoftmax<V>(h, count, s);
    MixValues<V>(k_tile + kTileTokens * d, d, count, s);
  }
  Operand* out = static_cast<Operand*>(t.out) + first * d;
  for (int h = 0; h < kHeads; ++h) {
    for (int64_t j = 0; j < d; j += V::kWidth) {
      StoreAny<V>(out + h * d + j, V::Div(V::Load(s.acc[h] + j), V::Set1(s.sum[h])));
    }
  }
}

template <class V, class Kv, class Operand>
void Attend(const AttentionTask& t) {
  int64_t h = 0;
  for (; h + kHeadsAtOnce <= t.group; h += kHeadsAtOnce) {
    AttendHeads<V, Kv, Operand, kHeadsAtOnce>(t, h);
  }
  switch (t.group - h) {
    case 3:
      return AttendHeads<V, Kv, Operand, 3>(t, h);
    case 2:
      return AttendHeads<V, Kv, Operand, 2>(t, h);
    case 1:
      return AttendHeads<V, Kv, Operand, 1>(t, h);
  }
}

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_ATTENTION_KERNEL_H_
