// Sixteen lanes of AVX-512 (F, BW, DQ, VL), for the AVX-512 translation units.
// Rules of vector_math.h apply.

#ifndef STRATA_KERNELS_CPU_VEC16_H_
#define STRATA_KERNELS_CPU_VEC16_H_

#include <immintrin.h>
#include <stdint.h>

namespace strata::kernels {
namespace {

struct Vec16 {
  static constexpr int kWidth = 16;
  static constexpr int kQueriesAtOnce = 6;
  static constexpr int kVectorsAtOnce = 4;
  using T = __m512;

  static T Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, T v) { _mm512_storeu_ps(p, v); }
  static T Set1(float x) { return _mm512_set1_ps(x); }
  static T Add(T a, T b) { return _mm512_add_ps(a, b); }
  static T Sub(T a, T b) { return _mm512_sub_ps(a, b); }
  static T Mul(T a, T b) { return _mm512_mul_ps(a, b); }
  static T Div(T a, T b) { return _mm512_div_ps(a, b); }
  static T Min(T a, T b) { return _mm512_min_ps(a, b); }
  static T Max(T a, T b) { return _mm512_max_ps(a, b); }
  static T Fma(T a, T b, T c) { return _mm512_fmadd_ps(a, b, c); }
  static T ScaleByPowerOfTwo(T p, T n) { return _mm512_scalef_ps(p, n); }
  static float ReduceAdd(T v) { return _mm512_reduce_add_ps(v); }
  static float ReduceMax(T v) { return _mm512_reduce_max_ps(v); }
  static T LoadBf16(const uint16_t* p) {
    const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
  }
  static void LoadBf16Pairs(const uint16_t* p, T* even, T* odd) {
    const __m512i raw = _mm512_loadu_si512(p);
    *even = _mm512_castsi512_ps(_mm512_slli_epi32(raw, 16));
    *odd = _mm512_castsi512_ps(_mm512_and_si512(raw, _mm512_set1_epi32(-65536)));
  }
  static void StoreInt8(int8_t* p, T v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
  }
  // Round to nearest even as F32ToBf16 does, NaN included.
  static void StoreBf16(uint16_t* p, T v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i high = _mm512_srli_epi32(bits, 16);
    const __m512i lsb = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(lsb, _mm512_set1_epi32(0x7fff));
    __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(rounded));
  }
};

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_VEC16_H_
