// Rotary position embedding and the KV tiles' writing side, over a vector type
// V. Rules of vector_math.h apply.

#ifndef STRATA_KERNELS_CPU_ROPE_KERNEL_H_
#define STRATA_KERNELS_CPU_ROPE_KERNEL_H_

#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

// x [head_dim], in place. Products and sums are rounded each, so that what does
// not fill a vector gets the same bits.
template <class V>
STRATA_INLINE void Rotate(float* x, int64_t head_dim, const float* cos, const float* sin) {
  const int64_t half = head_dim / 2;
  int64_t i = 0;
  for (; i + V::kWidth <= half; i += V::kWidth) {
    const typename V::T a = V::Load(x + i);
    const typename V::T b = V::Load(x + half + i);
    const typename V::T c = V::Load(cos + i);
    const typename V::T s = V::Load(sin + i);
    V::Store(x + i, V::Sub(V::Mul(a, c), V::Mul(b, s)));
    V::Store(x + half + i, V::Add(V::Mul(b, c), V::Mul(a, s)));
  }
  for (; i < half; ++i) {
    const float a = x[i];
    const float b = x[half + i];
    x[i] = a * cos[i] - b * sin[i];
    x[half + i] = b * cos[i] + a * sin[i];
  }
}

// Key and value of one position into a tile.
template <class V>
STRATA_INLINE void WriteKv(const RopeTask& t, float* tile) {
  float* v = tile + (kTileTokens + t.slot) * t.head_dim;
  for (int64_t i = 0; i < t.head_dim; ++i) tile[i * kTileTokens + t.slot] = t.key[i];
  for (int64_t i = 0; i < t.head_dim; i += V::kWidth) V::Store(v + i, V::Load(t.value + i));
}
template <class V>
STRATA_INLINE void WriteKv(const RopeTask& t, uint16_t* tile) {
  uint16_t* v = tile + (kTileTokens + t.slot) * t.head_dim;
  alignas(64) uint16_t key[kMaxHeadDim];
  for (int64_t i = 0; i < t.head_dim; i += V::kWidth) {
    V::StoreBf16(key + i, V::Load(t.key + i));
    V::StoreBf16(v + i, V::Load(t.value + i));
  }
  for (int64_t i = 0; i < t.head_dim; i += 2) {
    __builtin_memcpy(tile + i * kTileTokens + 2 * t.slot, key + i, 2 * sizeof(uint16_t));
  }
}

template <class V, class Kv>
void RopeAndAppendKv(const RopeTask& t) {
  for (int64_t g = 0; g < t.group; ++g) {
    Rotate<V>(t.queries + g * t.head_dim, t.head_dim, t.cos, t.sin);
  }
  Rotate<V>(t.key, t.head_dim, t.cos, t.sin);
  WriteKv<V>(t, static_cast<Kv*>(t.tile));
}

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_ROPE_KERNEL_H_
