// The instruction set every CPU has: four-lane vectors of the compiler, which
// map to SSE2 or NEON. Its multiply-add is two roundings.

#include <math.h>
#include <stdint.h>

#include "kernels/cpu/attention_kernel.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/mat_mul_kernel.h"
#include "kernels/cpu/rope_kernel.h"
#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

typedef float Floats __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(16)));

struct Vec4 {
  static constexpr int kWidth = 4;
  static constexpr int kQueriesAtOnce = 4;
  static constexpr int kVectorsAtOnce = 2;
  using T = Floats;

  static T Load(const float* p) {
    T v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static void Store(float* p, T v) { __builtin_memcpy(p, &v, sizeof(v)); }
  static T Set1(float x) { return T{x, x, x, x}; }
  static T Add(T a, T b) { return a + b; }
  static T Sub(T a, T b) { return a - b; }
  static T Mul(T a, T b) { return a * b; }
  static T Div(T a, T b) { return a / b; }
  static T Min(T a, T b) { return a < b ? a : b; }
  static T Max(T a, T b) { return a > b ? a : b; }
  static T Fma(T a, T b, T c) { return a * b + c; }
  static T ScaleByPowerOfTwo(T p, T n) {
    // The low bits of n + 1.5 * 2^23 are the integer n.
    const Words bits = (Words)(n + 12582912.0f);
    return p * (T)((bits << 23) + 0x3f800000u);
  }
  static float ReduceAdd(T v) { return (v[0] + v[2]) + (v[1] + v[3]); }
  static float ReduceMax(T v) {
    const float a = v[0] > v[2] ? v[0] : v[2];
    const float b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
  }
  static T LoadBf16(const uint16_t* p) { return (T)(Words{p[0], p[1], p[2], p[3]} << 16); }
  static void LoadBf16Pairs(const uint16_t* p, T* even, T* odd) {
    Words w;
    __builtin_memcpy(&w, p, sizeof(w));
    *even = (T)(w << 16);
    *odd = (T)(w & 0xffff0000u);
  }
  // Round to nearest even as F32ToBf16 does, NaN included.
  static void StoreBf16(uint16_t* p, T v) {
    const Words bits = (Words)v;
    const Words high = bits >> 16;
    const Words rounded = (bits + 0x7fffu + (high & 1u)) >> 16;
    const Words result = v == v ? rounded : high | 0x40u;
    for (int i = 0; i < kWidth; ++i) p[i] = static_cast<uint16_t>(result[i]);
  }
};

template <bool kBf16>
struct CoreOf {
  using Type = F32Core<Vec4, 4, 2>;
};
template <>
struct CoreOf<true> {
  using Type = WidenedBf16Core<Vec4, 4, 2>;
};

template <bool kBf16>
void MatMul(const MatMulTask& task) {
  using Core = typename CoreOf<kBf16>::Type;
  RunPanels<Vec4, Core, StoreEpilogue<Vec4, Core>>(task);
}

template <bool kBf16>
void GatedMatMul(const MatMulTask& task) {
  using Core = typename CoreOf<kBf16>::Type;
  RunPanels<Vec4, Core, GatedEpilogue<Vec4, Core>>(task);
}

void Read(const void* data, size_t bytes, float* sink) {
  const float* p = static_cast<const float*>(data);
  Floats sum[4] = {};
  for (size_t i = 0; i < bytes / sizeof(float); i += 16) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sum[c] += Vec4::Load(p + i + 4 * c);
  }
  *sink = Vec4::ReduceAdd((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

double Bf16Flops(int64_t iterations, float* sink) {
  Floats sum[8];
  for (int c = 0; c < 8; ++c) sum[c] = Vec4::Set1(static_cast<float>(c));
  const Floats scale = Vec4::Set1(*sink + 0.5f);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 8
    for (int c = 0; c < 8; ++c) sum[c] = Vec4::Fma(sum[c], scale, scale);
  }
  for (int c = 1; c < 8; ++c) sum[0] += sum[c];
  *sink = Vec4::ReduceAdd(sum[0]);
  return static_cast<double>(iterations) * 8 * 4 * 2;
}

constexpr KernelTable kF32 = {
    "generic",
    false,
    false,
    16,
    &MatMul<false>,
    &GatedMatMul<false>,
    &RmsNormRows<Vec4, float>,
    &Attend<Vec4, float, float>,
    &AttendPartition<Vec4, float>,
    &MergePartitions<Vec4, float>,
    &RopeAndAppendKv<Vec4, float>,
};
constexpr KernelTable kBf16 = {
    "generic",
    true,
    false,
    16,
    &MatMul<true>,
    &GatedMatMul<true>,
    &RmsNormRows<Vec4, float>,
    &Attend<Vec4, uint16_t, float>,
    &AttendPartition<Vec4, uint16_t>,
    &MergePartitions<Vec4, float>,
    &RopeAndAppendKv<Vec4, uint16_t>,
};
constexpr ProbeTable kProbes = {&Read, &Bf16Flops, nullptr};

}  // namespace

const KernelTable* GenericKernels(bool bf16_weights) { return bf16_weights ? &kBf16 : &kF32; }
const ProbeTable* GenericProbes() { return &kProbes; }

}  // namespace strata::kernels
