// One span of attention over a vector type V: scores, softmax and weighted
// values of all queries that walk together. Rules of vector_math.h apply.
//
// V provides kQueriesAtOnce and kVectorsAtOnce: the sums that its registers hold.

#ifndef STRATA_KERNELS_CPU_ATTENTION_SPAN_H_
#define STRATA_KERNELS_CPU_ATTENTION_SPAN_H_

#include <float.h>

#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

constexpr int kSpanTokens = 64;
constexpr int kSpanTiles = kSpanTokens / kTileTokens;
constexpr int kQueryStride = kMaxHeadDim + 16;  // spreads queries over the sets of L1
// Few queries widen bf16 in registers, as they read it; many, in memory first.
constexpr int kDirectAtOnce = 4;
constexpr int kDirectQueries = 2 * kDirectAtOnce;

inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t Most(int64_t a, int64_t b) { return a > b ? a : b; }

// What a query has gathered. `at` is a record of PartialFloats(head_dim).
struct Partial {
  float* at;

  float& max() const { return at[0]; }                // of the scores
  float& sum() const { return at[1]; }                // of the weights e^(score - max)
  float* acc() const { return at + kPartialHeader; }  // sum of weight * value
};

// Queries that walk together, and where they are.
struct Walk {
  int64_t count;
  int64_t head_dim;
  int64_t end;                  // of the positions that the walk goes over
  int64_t limits[kMaxQueries];  // query n attends to positions [0, limits[n])
  float* partials;              // [count] records, of the current partition
  int64_t start;                // first position of the current span

  alignas(64) float q[kMaxQueries][kQueryStride];  // scaled
  alignas(64) float p[kMaxQueries][kSpanTokens];   // scores, then weights of the span
  // Keys [tiles][head_dim][16] or values [tiles][16][head_dim] of the span.
  alignas(64) float wide[kSpanTokens * kMaxHeadDim];

  Partial partial(int64_t n) const { return {partials + n * PartialFloats(head_dim)}; }
  // Positions of the span that query n attends to.
  int64_t visible(int64_t n) const { return Most(0, Least(limits[n] - start, kSpanTokens)); }
};

// The keys or the values of a span, as they stand in the cache or widened to
// f32, and those of the next span in the cache, which are fetched meanwhile.
template <class Type, class Cached>
struct Tiles {
  using T = Type;
  using Kv = Cached;
  const T* at[kSpanTiles];  // null: the walk ends before
  const Kv* next[kSpanTiles];
};

// What is to be read as it is goes to L1, what is to be widened to L2: beside
// the widened tiles there is no room in L1.
template <class Tiles>
STRATA_INLINE void Fetch(const typename Tiles::Kv* next) {
  __builtin_prefetch(next, 0, sizeof(typename Tiles::T) == sizeof(typename Tiles::Kv) ? 3 : 2);
}

// Dimension 2 i or, if kOdd, 2 i + 1 of kWidth tokens.
template <class V, bool kOdd>
STRATA_INLINE typename V::T LoadKeys(const float* k, int64_t i) {
  return V::Load(k + (2 * i + kOdd) * kTileTokens);
}
template <class V, bool kOdd>
STRATA_INLINE typename V::T LoadKeys(const uint16_t* k, int64_t i) {
  typename V::T even;
  typename V::T odd;
  V::LoadBf16Pairs(k + 2 * i * kTileTokens, &even, &odd);
  return kOdd ? odd : even;
}
inline const float* KeysFrom(const float* tile, int64_t token) { return tile + token; }
inline const uint16_t* KeysFrom(const uint16_t* tile, int64_t token) { return tile + 2 * token; }

template <class V, bool kOdd, class T, int kQueries, int kVectors>
STRATA_INLINE void AddDimension(const T* const (&k)[kVectors], const float* q, int64_t i,
                                typename V::T (&sum)[kQueries][kVectors]) {
  typename V::T keys[kVectors];
#pragma GCC unroll 4
  for (int c = 0; c < kVectors; ++c) keys[c] = LoadKeys<V, kOdd>(k[c], i);
#pragma GCC unroll 6
  for (int r = 0; r < kQueries; ++r) {
    const typename V::T x = V::Set1(q[r * kQueryStride + 2 * i + kOdd]);
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) sum[r][c] = V::Fma(keys[c], x, sum[r][c]);
  }
}

// p = q K^T for tokens [first, first + kVectors * kWidth) of a span.
template <class V, int kQueries, int kVectors, class Tiles>
__attribute__((noinline)) void Scores(const Tiles& tiles, int64_t first, int64_t d, const float* q,
                                      float* p) {
  const typename Tiles::T* k[kVectors];
  const typename Tiles::Kv* next[kVectors];
  typename V::T sum[kQueries][kVectors];
#pragma GCC unroll 4
  for (int c = 0; c < kVectors; ++c) {
    const int64_t token = first + c * V::kWidth;
    k[c] = KeysFrom(tiles.at[token / kTileTokens], token % kTileTokens);
    next[c] = KeysFrom(tiles.next[token / kTileTokens], token % kTileTokens);
#pragma GCC unroll 6
    for (int r = 0; r < kQueries; ++r) sum[r][c] = V::Set1(0.0f);
  }
  for (int64_t i = 0; i < d / 2; ++i) {
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) Fetch<Tiles>(next[c] + 2 * i * kTileTokens);
    AddDimension<V, false>(k, q, i, sum);
    AddDimension<V, true>(k, q, i, sum);
  }
#pragma GCC unroll 6
  for (int r = 0; r < kQueries; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) {
      V::Store(p + r * kSpanTokens + first + c * V::kWidth, sum[r][c]);
    }
  }
}

// Scores of the span become weights; max, sum and acc of queries [first, first +
// kQueries) are rescaled to the new max. What a query does not attend to is not
// looked at. Each step is taken for all queries, so that their latencies overlap.
template <class V, int kQueries>
STRATA_INLINE void UpdateSoftmax(int64_t first, Walk& w) {
  static_assert(kQueries <= V::kWidth);
  alignas(64) float rescale[V::kWidth] = {};
  for (int r = 0; r < kQueries; ++r) {
    float* p = w.p[first + r];
    const Partial s = w.partial(first + r);
    typename V::T top = V::Set1(s.max());
    const int64_t visible = w.visible(first + r);
    for (int64_t t = visible; t % V::kWidth != 0; ++t) p[t] = -FLT_MAX;
    for (int64_t t = 0; t < visible; t += V::kWidth) top = V::Max(top, V::Load(p + t));
    const float max = V::ReduceMax(top);
    rescale[r] = s.max() - max;
    s.max() = max;
  }
  V::Store(rescale, Exp<V>(V::Load(rescale)));
  for (int r = 0; r < kQueries; ++r) {
    float* p = w.p[first + r];
    const typename V::T max = V::Set1(w.partial(first + r).max());
    const int64_t visible = w.visible(first + r);
    for (int64_t t = 0; t < visible; t += V::kWidth) {
      V::Store(p + t, Exp<V>(V::Sub(V::Load(p + t), max)));
    }
    for (int64_t t = visible; t % V::kWidth != 0; ++t) p[t] = 0.0f;
  }
  for (int r = 0; r < kQueries; ++r) {
    const float* p = w.p[first + r];
    const Partial s = w.partial(first + r);
    typename V::T total = V::Set1(0.0f);
    const int64_t visible = w.visible(first + r);
    for (int64_t t = 0; t < visible; t += V::kWidth) total = V::Add(total, V::Load(p + t));
    s.sum() = s.sum() * rescale[r] + V::ReduceAdd(total);
    const typename V::T factor = V::Set1(rescale[r]);
    for (int64_t j = 0; j < w.head_dim; j += V::kWidth) {
      V::Store(s.acc() + j, V::Mul(V::Load(s.acc() + j), factor));
    }
  }
}

// acc += p V over tokens [begin, end) of a span, for kVectors * kWidth dimensions from `first`.
template <class V, int kQueries, int kVectors, class Tiles>
__attribute__((noinline)) void MixColumns(const Tiles& tiles, int64_t first, int64_t d,
                                          int64_t begin, int64_t end, const float* p, float* acc) {
  constexpr int kLine = 64 / sizeof(typename Tiles::Kv);
  typename V::T sum[kQueries][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kQueries; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) {
      sum[r][c] = V::Load(acc + r * PartialFloats(d) + first + c * V::kWidth);
    }
  }
  for (int64_t t = begin; t < end;) {
    const int64_t tile = t / kTileTokens;
    const typename Tiles::T* values = tiles.at[tile] + t % kTileTokens * d + first;
    const typename Tiles::Kv* next = tiles.next[tile] + t % kTileTokens * d + first;
    const int64_t tile_end = Least(end, (tile + 1) * kTileTokens);
    for (; t < tile_end; ++t, values += d, next += d) {
#pragma GCC unroll 4
      for (int c = 0; c < kVectors * V::kWidth; c += kLine) Fetch<Tiles>(next + c);
      typename V::T v[kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) v[c] = LoadAny<V>(values + c * V::kWidth);
#pragma GCC unroll 6
      for (int r = 0; r < kQueries; ++r) {
        const typename V::T weight = V::Set1(p[r * kSpanTokens + t]);
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) sum[r][c] = V::Fma(weight, v[c], sum[r][c]);
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kQueries; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) {
      V::Store(acc + r * PartialFloats(d) + first + c * V::kWidth, sum[r][c]);
    }
  }
}

// The same for all dimensions of queries [first, first + kQueries) of a walk.
template <class V, int kQueries, class Tiles>
STRATA_INLINE void Mix(const Tiles& tiles, int64_t begin, int64_t end, int64_t first, Walk& w) {
  if (begin == end) return;
  constexpr int64_t kStep = V::kVectorsAtOnce * V::kWidth;
  const int64_t d = w.head_dim;
  const float* p = w.p[first];
  float* acc = w.partial(first).acc();
  int64_t j = 0;
  for (; j + kStep <= d; j += kStep) {
    MixColumns<V, kQueries, V::kVectorsAtOnce>(tiles, j, d, begin, end, p, acc);
  }
  for (; j < d; j += V::kWidth) MixColumns<V, kQueries, 1>(tiles, j, d, begin, end, p, acc);
}

// The two halves of a span's work, for queries [first, first + kQueries) of a walk.
struct KeysHalf {
  static constexpr bool kKeys = true;

  template <class V, int kQueries, class Tiles>
  static STRATA_INLINE void Run(const Tiles& keys, int64_t first, Walk& w) {
    constexpr int64_t kStep = V::kVectorsAtOnce * V::kWidth;
    int64_t most = 0;
    for (int64_t n = first; n < first + kQueries; ++n) most = Most(most, w.visible(n));
    for (int64_t t = 0; t < most;) {
      if (most - t > kStep - kTileTokens) {
        Scores<V, kQueries, V::kVectorsAtOnce>(keys, t, w.head_dim, w.q[first], w.p[first]);
        t += kStep;
      } else {
        Scores<V, kQueries, 1>(keys, t, w.head_dim, w.q[first], w.p[first]);
        t += V::kWidth;
      }
    }
    UpdateSoftmax<V, kQueries>(first, w);
  }
};
struct ValuesHalf {
  static constexpr bool kKeys = false;

  // Together over what all of them see, then each alone over the rest.
  template <class V, int kQueries, class Tiles>
  static STRATA_INLINE void Run(const Tiles& values, int64_t first, Walk& w) {
    int64_t common = kSpanTokens;
    for (int64_t n = first; n < first + kQueries; ++n) common = Least(common, w.visible(n));
    Mix<V, kQueries>(values, 0, common, first, w);
    for (int64_t n = first; n < first + kQueries; ++n)
      Mix<V, 1>(values, common, w.visible(n), n, w);
  }
};

template <class V, class Half, int kQueries, class Tiles>
STRATA_INLINE void DispatchQueries(int64_t queries, const Tiles& tiles, int64_t first, Walk& w) {
  if (queries == kQueries) {
    Half::template Run<V, kQueries>(tiles, first, w);
  } else if constexpr (kQueries > 1) {
    DispatchQueries<V, Half, kQueries - 1>(queries, tiles, first, w);
  }
}

// All queries of a walk, in even groups of up to kMost, which share the fetching
// of the next tiles, so that memory is never idle.
template <class V, class Half, int kMost, class Tiles>
void RunInGroups(const Tiles& tiles, Walk& w) {
  const int64_t groups = (w.count + kMost - 1) / kMost;
  for (int64_t i = 0, first = 0; i < groups; ++i) {
    const int64_t end = w.count * (i + 1) / groups;
    Tiles shared = tiles;
    for (int64_t j = 0; j < kSpanTiles; ++j) {
      if (j % groups != i) shared.next[j] = tiles.next[i % kSpanTiles];
    }
    DispatchQueries<V, Half, kMost>(end - first, shared, first, w);
    first = end;
  }
}

// A tile's keys or values, [count].
template <class V, bool kKeys>
STRATA_INLINE void WidenTile(const uint16_t* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i += 2 * kTileTokens) {
    for (int64_t j = 0; j < kTileTokens; j += V::kWidth) {
      typename V::T a;
      typename V::T b;
      if constexpr (kKeys) {
        V::LoadBf16Pairs(from + i + 2 * j, &a, &b);
      } else {
        a = V::LoadBf16(from + i + j);
        b = V::LoadBf16(from + i + kTileTokens + j);
      }
      V::Store(to + i + j, a);
      V::Store(to + i + kTileTokens + j, b);
    }
  }
}

template <class V, class Half>
STRATA_INLINE void RunHalf(const Tiles<float, float>& tiles, Walk& w) {
  RunInGroups<V, Half, V::kQueriesAtOnce>(tiles, w);
}
template <class V, class Half>
STRATA_INLINE void RunHalf(const Tiles<uint16_t, uint16_t>& tiles, Walk& w) {
  if (w.count <= kDirectQueries) return RunInGroups<V, Half, kDirectAtOnce>(tiles, w);
  const int64_t size = kTileTokens * w.head_dim;
  Tiles<float, uint16_t> wide = {};
  for (int64_t j = 0; j < kSpanTiles; ++j) {
    wide.next[j] = tiles.next[j];
    if (tiles.at[j] == nullptr) continue;
    WidenTile<V, Half::kKeys>(tiles.at[j], size, w.wide + j * size);
    wide.at[j] = w.wide + j * size;
  }
  RunInGroups<V, Half, V::kQueriesAtOnce>(wide, w);
}

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_ATTENTION_SPAN_H_
