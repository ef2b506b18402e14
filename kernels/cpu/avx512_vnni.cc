// AVX-512 VNNI: the probe of the 8-bit dot product.

#include <immintrin.h>
#include <stdint.h>

#include "kernels/cpu/kernel_table.h"

namespace strata::kernels {
namespace {

double Int8Ops(int64_t iterations, float* sink) {
  __m512i sum[24];
  for (int c = 0; c < 24; ++c) sum[c] = _mm512_set1_epi32(c);
  const __m512i x = _mm512_set1_epi8(static_cast<char>(*sink));
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 24
    for (int c = 0; c < 24; ++c) sum[c] = _mm512_dpbusd_epi32(sum[c], x, x);
  }
  for (int c = 1; c < 24; ++c) sum[0] = _mm512_add_epi32(sum[0], sum[c]);
  *sink = _mm512_reduce_add_ps(_mm512_cvtepi32_ps(sum[0]));
  return static_cast<double>(iterations) * 24 * 64 * 2;
}

constexpr ProbeTable kProbes = {nullptr, nullptr, &Int8Ops};

}  // namespace

const ProbeTable* Avx512VnniProbes() { return &kProbes; }

}  // namespace strata::kernels
