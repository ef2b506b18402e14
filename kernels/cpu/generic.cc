// The instruction set every CPU has: four-lane vectors of the compiler, which
// map to SSE2 or NEON. Its multiply-add is two roundings.

#include <math.h>
#include <stdint.h>

#include "kernels/cpu/attention_kernel.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/mat_mul_kernel.h"
#include "kernels/cpu/quantized_kernel.h"
#include "kernels/cpu/rope_kernel.h"
#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

typedef float Floats __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(16)));
typedef int32_t SignedWords __attribute__((vector_size(16)));

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
  static void StoreInt8(int8_t* p, T v) {
    for (int i = 0; i < kWidth; ++i) p[i] = v[i] == v[i] ? static_cast<int8_t>(v[i]) : 0;
  }
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

struct Ints4 {
  using T = Words;

  static T FromBytes(const char* p) {
    T v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static void Store(char* p, T v) { __builtin_memcpy(p, &v, sizeof(v)); }
  static T Set4(const int8_t* p) {
    uint32_t lanes;
    __builtin_memcpy(&lanes, p, sizeof(lanes));
    return T{lanes, lanes, lanes, lanes};
  }
  static T Codes(const char* p) {
    const uint8_t* codes = reinterpret_cast<const uint8_t*>(p);
    return T{codes[0], codes[1], codes[2], codes[3]};
  }
  static void Keep(T&) {}
  static Vec4::T ToFloat(T sum) { return __builtin_convertvector((SignedWords)sum, Floats); }
  static T Start(int32_t offset) { return Words{} + static_cast<uint32_t>(offset); }
  static T Dot8(T sum, T w, T x) {
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) {
      sum += ((w >> (8 * b)) & 0xffu) * (T)((SignedWords)(x << (24 - 8 * b)) >> 24);
    }
    return sum;
  }
  static T LowNibbles(T w) { return (w << 4) & 0xf0f0f0f0u; }
  static T HighNibbles(T w) { return w & 0xf0f0f0f0u; }
  static T Start4(T zero, int32_t offset) { return zero * static_cast<uint32_t>(offset); }
  static T Dot4(T sum, T w, T x) { return Dot8(sum, w, x); }
};

using FloatCore = F32Core<Vec4, 4, 2>;
using Bf16Core = WidenedBf16Core<Vec4, 4, 2>;
using Int8 = Int8Core<Vec4, Ints4, 4, 2>;
using Int4 = Int4Core<Vec4, Ints4, 4, 2, 2>;

template <class Core, template <class, class> class Epilogue>
void Run(const MatMulTask& task) {
  RunPanels<Vec4, Core, Epilogue<Vec4, Core>>(task);
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
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) sum[c] = Vec4::Set1(static_cast<float>(c));
  const Floats scale = Vec4::Set1(*sink + 0.5f);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 8
    for (int c = 0; c < 8; ++c) sum[c] = Vec4::Fma(sum[c], scale, scale);
  }
#pragma GCC unroll 8
  for (int c = 1; c < 8; ++c) sum[0] += sum[c];
  *sink = Vec4::ReduceAdd(sum[0]);
  return static_cast<double>(iterations) * 8 * 4 * 2;
}

template <WeightFormat kWeights, class Core, class Kv>
constexpr KernelTable Table(void (*quantize_rows)(const QuantizeTask&)) {
  return {"generic",
          kWeights,
          /*bf16_operands=*/false,
          /*bf16_kv=*/kWeights != WeightFormat::kF32,
          Core::kCols,
          &Run<Core, StoreEpilogue>,
          &Run<Core, GatedEpilogue>,
          &RmsNormRows<Vec4, float>,
          &Attend<Vec4, Kv, float>,
          &AttendPartition<Vec4, Kv>,
          &MergePartitions<Vec4, float>,
          &RopeAndAppendKv<Vec4, Kv>,
          quantize_rows};
}
constexpr KernelTable kF32 = Table<WeightFormat::kF32, FloatCore, float>(nullptr);
constexpr KernelTable kBf16 = Table<WeightFormat::kBF16, Bf16Core, uint16_t>(nullptr);
constexpr KernelTable kInt8 =
    Table<WeightFormat::kInt8, Int8, uint16_t>(&QuantizeRows<Vec4, Int8Format>);
constexpr KernelTable kInt4 =
    Table<WeightFormat::kInt4, Int4, uint16_t>(&QuantizeRows<Vec4, Int4Format>);
constexpr ProbeTable kProbes = {&Read, &Bf16Flops, nullptr};

}  // namespace

const KernelTable* GenericKernels(WeightFormat weights) {
  constexpr const KernelTable* kTables[] = {&kF32, &kBf16, nullptr, &kInt8, &kInt4};
  return kTables[static_cast<int>(weights)];
}
const ProbeTable* GenericProbes() { return &kProbes; }

}  // namespace strata::kernels
