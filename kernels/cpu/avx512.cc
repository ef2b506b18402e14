// AVX-512 without the bf16 instructions: f32 weights.

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

using Core = F32Core<Vec16, 4, 6>;

void MatMul(const MatMulTask& task) { RunPanels<Vec16, Core, StoreEpilogue<Vec16, Core>>(task); }

void GatedMatMul(const MatMulTask& task) {
  RunPanels<Vec16, Core, GatedEpilogue<Vec16, Core>>(task);
}

void Read(const void* data, size_t bytes, float* sink) {
  const float* p = static_cast<const float*>(data);
  const size_t ahead = FetchesAlone() ? 0 : kReadAhead / sizeof(float);
  __m512 sum[4] = {};
  for (size_t i = 0; i < bytes / sizeof(float); i += 64) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      __builtin_prefetch(p + i + 16 * c + ahead);
      sum[c] = _mm512_add_ps(sum[c], _mm512_loadu_ps(p + i + 16 * c));
    }
  }
  *sink =
      Vec16::ReduceAdd(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

double Bf16Flops(int64_t iterations, float* sink) {
  __m512 sum[24];
#pragma GCC unroll 24
  for (int c = 0; c < 24; ++c) sum[c] = Vec16::Set1(static_cast<float>(c));
  const __m512 scale = Vec16::Set1(*sink + 0.5f);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 24
    for (int c = 0; c < 24; ++c) sum[c] = _mm512_fmadd_ps(sum[c], scale, scale);
  }
#pragma GCC unroll 24
  for (int c = 1; c < 24; ++c) sum[0] = _mm512_add_ps(sum[0], sum[c]);
  *sink = Vec16::ReduceAdd(sum[0]);
  return static_cast<double>(iterations) * 24 * 16 * 2;
}

constexpr KernelTable kF32 = {
    "avx512",
    WeightFormat::kF32,
    /*bf16_operands=*/false,
    /*bf16_kv=*/false,
    Core::kCols,
    &MatMul,
    &GatedMatMul,
    &RmsNormRows<Vec16, float>,
    &Attend<Vec16, float, float>,
    &AttendPartition<Vec16, float>,
    &MergePartitions<Vec16, float>,
    &RopeAndAppendKv<Vec16, float>,
    /*quantize_rows=*/nullptr,
};
constexpr ProbeTable kProbes = {&Read, &Bf16Flops, nullptr};

}  // namespace

const KernelTable* Avx512F32Kernels() { return &kF32; }
const ProbeTable* Avx512Probes() { return &kProbes; }

}  // namespace strata::kernels
