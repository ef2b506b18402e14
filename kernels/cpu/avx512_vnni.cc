// AVX-512 VNNI: int8 and int4 weights, and the probe of the 8-bit dot product.

#include <immintrin.h>
#include <stdint.h>

#include "kernels/cpu/attention_kernel.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/mat_mul_kernel.h"
#include "kernels/cpu/quantized_kernel.h"
#include "kernels/cpu/rope_kernel.h"
#include "kernels/cpu/vec16.h"
#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

struct Ints16 {
  using T = __m512i;

  static T FromBytes(const char* p) { return _mm512_loadu_si512(p); }
  static void Store(char* p, T v) { _mm512_storeu_si512(p, v); }
  static T Set4(const int8_t* p) {
    int lanes;
    __builtin_memcpy(&lanes, p, sizeof(lanes));
    return _mm512_set1_epi32(lanes);
  }
  static T Codes(const char* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void Keep(T& sum) { asm("" : "+v"(sum)); }
  static Vec16::T ToFloat(T sum) { return _mm512_cvtepi32_ps(sum); }
  static T Start(int32_t offset) { return _mm512_set1_epi32(offset); }
  static T Dot8(T sum, T w, T x) { return _mm512_dpbusd_epi32(sum, w, x); }
  // 16 q is a nibble left where it stands in the high half of a byte.
  static T LowNibbles(T w) { return HighNibbles(_mm512_slli_epi16(w, 4)); }
  static T HighNibbles(T w) { return _mm512_and_si512(w, _mm512_set1_epi8(-16)); }
  static T Start4(T zero, int32_t offset) {  // both fit in 16 bits
    return _mm512_madd_epi16(zero, _mm512_set1_epi32(offset & 0xffff));
  }
  static T Dot4(T sum, T w, T x) { return _mm512_dpbusd_epi32(sum, w, x); }
};

using Int8 = Int8Core<Vec16, Ints16, 4, 4>;
using Int4 = Int4Core<Vec16, Ints16, 4, 5, 6>;
using UnstagedInt4 = Int4Core<Vec16, Ints16, 4, 5, 0>;

template <class Core, template <class, class> class Epilogue>
void Run(const MatMulTask& task) {
  RunPanels<Vec16, Core, Epilogue<Vec16, Core>>(task);
}

double Int8Ops(int64_t iterations, float* sink) {
  constexpr int kChains = 12;  // more than latency times rate
  __m512i sum[kChains];
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) sum[c] = _mm512_set1_epi32(c);
  const __m512i x = _mm512_set1_epi8(static_cast<char>(*sink));
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sum[c] = _mm512_dpbusd_epi32(sum[c], x, x);
      Ints16::Keep(sum[c]);
    }
  }
#pragma GCC unroll 12
  for (int c = 1; c < kChains; ++c) sum[0] = _mm512_add_epi32(sum[0], sum[c]);
  *sink = _mm512_reduce_add_ps(_mm512_cvtepi32_ps(sum[0]));
  return static_cast<double>(iterations) * kChains * 64 * 2;
}

template <WeightFormat kWeights, class Core, class Format>
constexpr KernelTable kTable = {
    "avx512",
    kWeights,
    /*bf16_operands=*/false,
    /*bf16_kv=*/true,
    Core::kCols,
    &Run<Core, StoreEpilogue>,
    &Run<Core, GatedEpilogue>,
    &RmsNormRows<Vec16, float>,
    &Attend<Vec16, uint16_t, float>,
    &AttendPartition<Vec16, uint16_t>,
    &MergePartitions<Vec16, float>,
    &RopeAndAppendKv<Vec16, uint16_t>,
    &QuantizeRows<Vec16, Format>,
};
constexpr ProbeTable kProbes = {nullptr, nullptr, &Int8Ops};

}  // namespace

const KernelTable* Avx512VnniKernels(WeightFormat weights) {
  return weights == WeightFormat::kInt8 ? &kTable<WeightFormat::kInt8, Int8, Int8Format>
                                        : &kTable<WeightFormat::kInt4, Int4, Int4Format>;
}
const KernelTable* Avx512VnniUnstagedInt4Kernels() {
  return &kTable<WeightFormat::kInt4, UnstagedInt4, Int4Format>;
}
const ProbeTable* Avx512VnniProbes() { return &kProbes; }

}  // namespace strata::kernels
