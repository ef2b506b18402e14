// Kernels written once over a vector type V, instantiated by each instruction
// set's translation unit. Everything here has internal linkage, so that no two
// of those units can share (or leak) a function.
//
// V provides kWidth, the type T, Load/Store/Set1, Add/Sub/Mul/Div/Min/Max (Min
// and Max return the second argument if either is NaN), Fma(a, b, c) = a * b + c,
// ScaleByPowerOfTwo(p, n), ReduceAdd, ReduceMax, LoadBf16, StoreBf16 and
// LoadBf16Pairs, which splits [kWidth][2] bf16 into even and odd elements, and
// StoreInt8 of integers in [-127, 127], or of NaN as any byte.

#ifndef STRATA_KERNELS_CPU_VECTOR_MATH_H_
#define STRATA_KERNELS_CPU_VECTOR_MATH_H_

#include <math.h>
#include <stdint.h>

#include "kernels/cpu/kernel_table.h"

#define STRATA_INLINE inline __attribute__((always_inline))

namespace strata::kernels {
namespace {

// Whether the CPU fetches what is read in order by itself, and better than with fetches by
// software, which then only compete (seen on Zen 4: 0.84 to 0.97 of the read bandwidth, without).
STRATA_INLINE bool FetchesAlone() {
#ifdef __x86_64__
  return __builtin_cpu_is("amd");
#else
  return false;
#endif
}

// Element access by type: float, or bf16 held as uint16_t.
template <class V>
STRATA_INLINE typename V::T LoadAny(const float* p) {
  return V::Load(p);
}
template <class V>
STRATA_INLINE typename V::T LoadAny(const uint16_t* p) {
  return V::LoadBf16(p);
}
template <class V>
STRATA_INLINE void StoreAny(float* p, typename V::T v) {
  V::Store(p, v);
}
template <class V>
STRATA_INLINE void StoreAny(uint16_t* p, typename V::T v) {
  V::StoreBf16(p, v);
}

// e^x by x = n ln2 + r, |r| <= ln2 / 2, and a Taylor polynomial of degree 7
// (truncation r^8 / 8! < 6e-9). Relative error below 2^-23 for x in
// [-87.3, 88.37]; x beyond is clamped to that range. NaN stays NaN.
template <class V>
STRATA_INLINE typename V::T Exp(typename V::T x) {
  x = V::Max(V::Set1(-87.3f), V::Min(V::Set1(88.37f), x));
  // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
  const typename V::T magic = V::Set1(12582912.0f);
  const typename V::T n = V::Sub(V::Fma(x, V::Set1(1.44269504088896341f), magic), magic);
  // ln2 in two parts, the first with few enough bits that n * hi is exact.
  typename V::T r = V::Fma(n, V::Set1(-0.693359375f), x);
  r = V::Fma(n, V::Set1(2.12194440054690583e-4f), r);
  typename V::T p = V::Set1(1.0f / 5040);
  p = V::Fma(p, r, V::Set1(1.0f / 720));
  p = V::Fma(p, r, V::Set1(1.0f / 120));
  p = V::Fma(p, r, V::Set1(1.0f / 24));
  p = V::Fma(p, r, V::Set1(1.0f / 6));
  p = V::Fma(p, r, V::Set1(0.5f));
  p = V::Fma(p, r, V::Set1(1.0f));
  p = V::Fma(p, r, V::Set1(1.0f));
  return V::ScaleByPowerOfTwo(p, n);
}

template <class V>
STRATA_INLINE typename V::T SiluMul(typename V::T gate, typename V::T up) {
  const typename V::T one = V::Set1(1.0f);
  const typename V::T e = Exp<V>(V::Sub(V::Set1(0.0f), gate));
  return V::Mul(V::Div(gate, V::Add(one, e)), up);
}

// Sum of squares in kWidth chains over the row, then a fixed reduction.
template <class V, class Operand>
void RmsNormRows(const RmsNormTask& t) {
  Operand* out = static_cast<Operand*>(t.out);
  for (int64_t i = 0; i < t.rows; ++i) {
    const float* x = t.x + i * t.hidden;
    typename V::T sum = V::Set1(0.0f);
    for (int64_t j = 0; j < t.hidden; j += V::kWidth) {
      const typename V::T v = V::Load(x + j);
      sum = V::Fma(v, v, sum);
    }
    const float mean = V::ReduceAdd(sum) / static_cast<float>(t.hidden);
    const typename V::T scale = V::Set1(1.0f / sqrtf(mean + t.eps));
    for (int64_t j = 0; j < t.hidden; j += V::kWidth) {
      const typename V::T v = V::Mul(V::Mul(V::Load(x + j), scale), V::Load(t.weight + j));
      StoreAny<V>(out + i * t.hidden + j, v);
    }
  }
}

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_VECTOR_MATH_H_
