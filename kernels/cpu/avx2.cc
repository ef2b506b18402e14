// AVX2 with FMA: eight lanes; bf16 weights are widened and operands are f32.

#include <immintrin.h>
#include <stdint.h>

#include "kernels/cpu/attention_kernel.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/mat_mul_kernel.h"
#include "kernels/cpu/quantized_kernel.h"
#include "kernels/cpu/rope_kernel.h"
#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

struct Vec8 {
  static constexpr int kWidth = 8;
  static constexpr int kQueriesAtOnce = 6;
  static constexpr int kVectorsAtOnce = 2;
  using T = __m256;

  static T Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, T v) { _mm256_storeu_ps(p, v); }
  static T Set1(float x) { return _mm256_set1_ps(x); }
  static T Add(T a, T b) { return _mm256_add_ps(a, b); }
  static T Sub(T a, T b) { return _mm256_sub_ps(a, b); }
  static T Mul(T a, T b) { return _mm256_mul_ps(a, b); }
  static T Div(T a, T b) { return _mm256_div_ps(a, b); }
  static T Min(T a, T b) { return _mm256_min_ps(a, b); }
  static T Max(T a, T b) { return _mm256_max_ps(a, b); }
  static T Fma(T a, T b, T c) { return _mm256_fmadd_ps(a, b, c); }
  static T ScaleByPowerOfTwo(T p, T n) {
    // The low bits of n + 1.5 * 2^23 are the integer n.
    const __m256i bits = _mm256_castps_si256(_mm256_add_ps(n, Set1(12582912.0f)));
    const __m256i power =
        _mm256_add_epi32(_mm256_slli_epi32(bits, 23), _mm256_set1_epi32(127 << 23));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
  }
  static float ReduceAdd(T v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float ReduceMax(T v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }
  static T LoadBf16(const uint16_t* p) {
    const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
  }
  static void StoreInt8(int8_t* p, T v) {
    const __m256i wide = _mm256_cvtps_epi32(v);
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }
  static void LoadBf16Pairs(const uint16_t* p, T* even, T* odd) {
    const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    *even = _mm256_castsi256_ps(_mm256_slli_epi32(raw, 16));
    *odd = _mm256_castsi256_ps(_mm256_and_si256(raw, _mm256_set1_epi32(-65536)));
  }
  // Round to nearest even as F32ToBf16 does, NaN included.
  static void StoreBf16(uint16_t* p, T v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i high = _mm256_srli_epi32(bits, 16);
    const __m256i lsb = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i bias = _mm256_add_epi32(lsb, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i result = _mm256_blendv_epi8(rounded, quiet, nan);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256(result, 1)));
  }
};

struct Ints8 {
  using T = __m256i;

  static T FromBytes(const char* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void Store(char* p, T v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static T Set4(const int8_t* p) {
    int lanes;
    __builtin_memcpy(&lanes, p, sizeof(lanes));
    return _mm256_set1_epi32(lanes);
  }
  static T Codes(const char* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static void Keep(T& sum) { asm("" : "+x"(sum)); }
  static Vec8::T ToFloat(T sum) { return _mm256_cvtepi32_ps(sum); }
  static T Start(int32_t) { return _mm256_setzero_si256(); }
  // maddubs saturates beyond 16 bits. Two products of magnitudes up to 127 just
  // fit, so the weights' sign moves over to the operands; nibbles always fit.
  static T Dot8(T sum, T w, T x) {
    const T centred = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
    return AddPairs(sum, _mm256_abs_epi8(centred), _mm256_sign_epi8(x, centred), 1);
  }
  static T LowNibbles(T w) { return _mm256_and_si256(w, _mm256_set1_epi8(15)); }
  static T HighNibbles(T w) { return LowNibbles(_mm256_srli_epi16(w, 4)); }
  static T Start4(T zero, int32_t offset) {  // both fit in 16 bits
    return _mm256_madd_epi16(zero, _mm256_set1_epi32(offset & 0xffff));
  }
  static T Dot4(T sum, T w, T x) { return AddPairs(sum, w, x, 16); }
  static T AddPairs(T sum, T w, T x, short factor) {
    const T pairs = _mm256_maddubs_epi16(w, x);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(factor)));
  }
};

using FloatCore = F32Core<Vec8, 2, 6>;
// Five rows: ten sums, four widened weights and an operand fill the registers.
using Bf16Core = WidenedBf16Core<Vec8, 2, 5>;
using Int8 = Int8Core<Vec8, Ints8, 2, 4>;
using Int4 = Int4Core<Vec8, Ints8, 2, 4, 4>;

template <class Core, template <class, class> class Epilogue>
void Run(const MatMulTask& task) {
  RunPanels<Vec8, Core, Epilogue<Vec8, Core>>(task);
}

void Read(const void* data, size_t bytes, float* sink) {
  const float* p = static_cast<const float*>(data);
  const size_t ahead = FetchesAlone() ? 0 : kReadAhead / sizeof(float);
  __m256 sum[4] = {};
  for (size_t i = 0; i < bytes / sizeof(float); i += 32) {
    __builtin_prefetch(p + i + ahead);
    __builtin_prefetch(p + i + 16 + ahead);
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sum[c] = _mm256_add_ps(sum[c], _mm256_loadu_ps(p + i + 8 * c));
  }
  *sink =
      Vec8::ReduceAdd(_mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

double Bf16Flops(int64_t iterations, float* sink) {
  __m256 sum[12];
#pragma GCC unroll 12
  for (int c = 0; c < 12; ++c) sum[c] = Vec8::Set1(static_cast<float>(c));
  const __m256 scale = Vec8::Set1(*sink + 0.5f);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < 12; ++c) sum[c] = _mm256_fmadd_ps(sum[c], scale, scale);
  }
#pragma GCC unroll 12
  for (int c = 1; c < 12; ++c) sum[0] = _mm256_add_ps(sum[0], sum[c]);
  *sink = Vec8::ReduceAdd(sum[0]);
  return static_cast<double>(iterations) * 12 * 8 * 2;
}

double Int8Ops(int64_t iterations, float* sink) {
  __m256i sum[12] = {};
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i x = _mm256_set1_epi8(static_cast<char>(*sink) | 1);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < 12; ++c) {
      // The products' operand changes with the sum, so that none is loop-invariant.
      const __m256i pairs = _mm256_maddubs_epi16(_mm256_xor_si256(sum[c], x), x);
      sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(pairs, ones));
    }
  }
#pragma GCC unroll 12
  for (int c = 1; c < 12; ++c) sum[0] = _mm256_add_epi32(sum[0], sum[c]);
  *sink = Vec8::ReduceAdd(_mm256_cvtepi32_ps(sum[0]));
  return static_cast<double>(iterations) * 12 * 32 * 2;
}

template <WeightFormat kWeights, class Core, class Kv>
constexpr KernelTable Table(void (*quantize_rows)(const QuantizeTask&)) {
  return {"avx2",
          kWeights,
          /*bf16_operands=*/false,
          /*bf16_kv=*/kWeights != WeightFormat::kF32,
          Core::kCols,
          &Run<Core, StoreEpilogue>,
          &Run<Core, GatedEpilogue>,
          &RmsNormRows<Vec8, float>,
          &Attend<Vec8, Kv, float>,
          &AttendPartition<Vec8, Kv>,
          &MergePartitions<Vec8, float>,
          &RopeAndAppendKv<Vec8, Kv>,
          quantize_rows};
}
constexpr KernelTable kF32 = Table<WeightFormat::kF32, FloatCore, float>(nullptr);
constexpr KernelTable kBf16 = Table<WeightFormat::kBF16, Bf16Core, uint16_t>(nullptr);
constexpr KernelTable kInt8 =
    Table<WeightFormat::kInt8, Int8, uint16_t>(&QuantizeRows<Vec8, Int8Format>);
constexpr KernelTable kInt4 =
    Table<WeightFormat::kInt4, Int4, uint16_t>(&QuantizeRows<Vec8, Int4Format>);
constexpr ProbeTable kProbes = {&Read, &Bf16Flops, &Int8Ops};

}  // namespace

const KernelTable* Avx2Kernels(WeightFormat weights) {
  constexpr const KernelTable* kTables[] = {&kF32, &kBf16, nullptr, &kInt8, &kInt4};
  return kTables[static_cast<int>(weights)];
}
const ProbeTable* Avx2Probes() { return &kProbes; }

}  // namespace strata::kernels
