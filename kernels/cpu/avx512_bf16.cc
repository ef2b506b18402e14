// AVX-512 BF16: bf16 weights and operands.
//
// vdpbf16ps is by definition two fused multiply-adds in f32, the odd element
// of the pair first, with subnormals taken and returned as zero. So a product
// can also be had by widening to f32, and on CPUs where the dot instruction
// issues every other cycle and FMA twice per cycle that is the faster way. The
// two cores below give the same bits; dispatch.cc picks the one that runs
// faster on this CPU.

#include <immintrin.h>
#include <stdint.h>

#include "kernels/cpu/attention_kernel.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/mat_mul_kernel.h"
#include "kernels/cpu/rope_kernel.h"
#include "kernels/cpu/vec16.h"
#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

struct DotCore : PlainCore<Vec16, 4, 6, 2, uint16_t> {
  static constexpr int64_t kChunkBytes = kL2ChunkBytes;

  template <int kRows, class Fetch>
  static STRATA_INLINE void Accumulate(const Block& b, Fetch fetch,
                                       __m512 (&acc)[kRows][kVectors]) {
    const char* weights = b.weights;
    for (int64_t i = 0; i < b.count; i += 2, weights += 4 * kCols) {
      __m512bh w[kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        fetch.Next();
        w[c] = (__m512bh)_mm512_loadu_si512(weights + 64 * c);
      }
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        int pair;
        __builtin_memcpy(&pair, b.Row<uint16_t>(r) + i, sizeof(pair));
        const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) acc[r][c] = _mm512_dpbf16_ps(acc[r][c], w[c], x);
      }
    }
  }
};

// Sums += the products of one element of K, `x` being its operands.
template <int kRows, int kVectors, int64_t kStride>
STRATA_INLINE void MultiplyAdd(const float (&x)[kRows][kStride], int64_t i,
                               const __m512 (&w)[kVectors], __m512 (&acc)[kRows][kVectors]) {
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    const __m512 value = _mm512_set1_ps(x[r][i]);
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) {
      acc[r][c] = _mm512_fmadd_ps(w[c], value, acc[r][c]);
      // Without this gcc reuses the operand's register for sums, and spills.
      asm("" : "+v"(acc[r][c]));
    }
  }
}

template <int kRows, int64_t kStride>
STRATA_INLINE void WidenOperands(const Block& b, float (&x)[kRows][kStride]) {
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    for (int64_t i = 0; i < b.count; i += 16) {
      Vec16::Store(x[r] + i, Vec16::LoadBf16(b.Row<uint16_t>(r) + i));
    }
  }
}

// Many rows: each chunk of weights widened once, [k][cols].
struct StagedFmaCore : PlainCore<Vec16, 4, 6, 2, uint16_t> {
  static constexpr bool kStages = true;
  static constexpr int64_t kUsedGroupBytes = 2 * kGroupBytes;
  static constexpr int64_t kFetches = kGroup;
  static constexpr int64_t kChunk = kL1ChunkBytes / (kCols * 4);

  static void Stage(const char* /*head*/, const char* weights, int64_t count, char* out) {
    float* wide = reinterpret_cast<float*>(out);
    for (int64_t i = 0; i < count; i += 2, wide += 2 * kCols) {
      for (int c = 0; c < kCols; c += 16, weights += 64) {
        __m512 even, odd;
        Vec16::LoadBf16Pairs(reinterpret_cast<const uint16_t*>(weights), &even, &odd);
        Vec16::Store(wide + c, even);
        Vec16::Store(wide + kCols + c, odd);
      }
    }
  }

  template <int kRows, class Fetch>
  static STRATA_INLINE void Accumulate(const Block& b, Fetch fetch,
                                       __m512 (&acc)[kRows][kVectors]) {
    alignas(64) float x[kRows][kChunk];
    WidenOperands(b, x);
    const float* weights = reinterpret_cast<const float*>(b.weights);
    for (int64_t i = 0; i < b.count; i += 2, weights += 2 * kCols) {
      fetch.Next();
      fetch.Next();
      __m512 w[kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) w[c] = Vec16::Load(weights + kCols + 16 * c);
      MultiplyAdd(x, i + 1, w, acc);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) w[c] = Vec16::Load(weights + 16 * c);
      MultiplyAdd(x, i, w, acc);
    }
  }
};

struct FmaCore : PlainCore<Vec16, 4, 6, 2, uint16_t> {
  using ManyRows = StagedFmaCore;
  static constexpr int64_t kChunk = kL1ChunkBytes / (kCols * 2);

  template <int kRows, class Fetch>
  static STRATA_INLINE void Accumulate(const Block& b, Fetch fetch,
                                       __m512 (&acc)[kRows][kVectors]) {
    alignas(64) float x[kRows][kChunk];
    WidenOperands(b, x);
    const __m512i high_half = _mm512_set1_epi32(-65536);
    const char* weights = b.weights;
    for (int64_t i = 0; i < b.count; i += 2, weights += 4 * kCols) {
      __m512 w[kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        fetch.Next();
        const __m512i raw = _mm512_loadu_si512(weights + 64 * c);
        w[c] = _mm512_castsi512_ps(_mm512_and_si512(raw, high_half));
      }
      MultiplyAdd(x, i + 1, w, acc);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        const __m512i raw = _mm512_loadu_si512(weights + 64 * c);
        w[c] = _mm512_castsi512_ps(_mm512_slli_epi32(raw, 16));
      }
      MultiplyAdd(x, i, w, acc);
    }
  }
};

// Subnormals as zero, as in the dot instruction, for FMA and epilogue alike.
template <class Core, template <class, class> class Epilogue>
void Run(const MatMulTask& task) {
  const unsigned int saved = _mm_getcsr();
  _mm_setcsr(saved | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON);
  RunPanels<Vec16, Core, Epilogue<Vec16, Core>>(task);
  _mm_setcsr(saved);
}

double Bf16Flops(int64_t iterations, float* sink) {
  __m512 sum[24];
#pragma GCC unroll 24
  for (int c = 0; c < 24; ++c) sum[c] = Vec16::Set1(static_cast<float>(c));
  const __m512bh scale = (__m512bh)_mm512_set1_epi32(static_cast<int>(*sink) + 0x3e803e80);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 24
    for (int c = 0; c < 24; ++c) sum[c] = _mm512_dpbf16_ps(sum[c], scale, scale);
  }
#pragma GCC unroll 24
  for (int c = 1; c < 24; ++c) sum[0] = _mm512_add_ps(sum[0], sum[c]);
  *sink = Vec16::ReduceAdd(sum[0]);
  return static_cast<double>(iterations) * 24 * 32 * 2;
}

constexpr KernelTable kDot = {
    "avx512_bf16",
    WeightFormat::kBF16,
    /*bf16_operands=*/true,
    /*bf16_kv=*/true,
    DotCore::kCols,
    &Run<DotCore, StoreEpilogue>,
    &Run<DotCore, GatedEpilogue>,
    &RmsNormRows<Vec16, uint16_t>,
    &Attend<Vec16, uint16_t, uint16_t>,
    &AttendPartition<Vec16, uint16_t>,
    &MergePartitions<Vec16, uint16_t>,
    &RopeAndAppendKv<Vec16, uint16_t>,
    /*quantize_rows=*/nullptr,
};
constexpr KernelTable kFma = {
    "avx512_bf16",
    WeightFormat::kBF16,
    /*bf16_operands=*/true,
    /*bf16_kv=*/true,
    FmaCore::kCols,
    &Run<FmaCore, StoreEpilogue>,
    &Run<FmaCore, GatedEpilogue>,
    &RmsNormRows<Vec16, uint16_t>,
    &Attend<Vec16, uint16_t, uint16_t>,
    &AttendPartition<Vec16, uint16_t>,
    &MergePartitions<Vec16, uint16_t>,
    &RopeAndAppendKv<Vec16, uint16_t>,
    /*quantize_rows=*/nullptr,
};
constexpr ProbeTable kProbes = {nullptr, &Bf16Flops, nullptr};

}  // namespace

const KernelTable* Avx512Bf16Kernels() { return &kDot; }
const KernelTable* Avx512Bf16FmaKernels() { return &kFma; }
const ProbeTable* Avx512Bf16Probes() { return &kProbes; }

}  // namespace strata::kernels
