// Products with int8 and int4 weights, over a vector type V of floats and a
// trait I of integer vectors of as many 32-bit lanes: a Core of
// mat_mul_kernel.h. Within a group of K the products of a lane are summed
// exactly in int32; each group then adds one term to the f32 sum. Rules of
// vector_math.h apply.
//
// I provides T, FromBytes(p) (the 4 bytes of each lane), Codes(p) (a byte a
// lane), Set4(p) (4 operands in every lane), ToFloat, and
//   Start(offset), Dot8(sum, weights, operands):
//       from Start on, Dot8 of a group gives the sum of (q - 128) * operand;
//   LowNibbles, HighNibbles, Start4(zero, offset), Dot4(sum, nibbles, operands):
//       from Start4 on, the sum of (16 q - zero) * operand;
//   Keep(sum): in a register; without it gcc also stores the sums in each step.

#ifndef STRATA_KERNELS_CPU_QUANTIZED_KERNEL_H_
#define STRATA_KERNELS_CPU_QUANTIZED_KERNEL_H_

#include "kernels/cpu/mat_mul_kernel.h"
#include "kernels/cpu/quantized_layout.h"
#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

template <class V, class I, class Format, int kPanelVectors, int kRowsAtOnce>
struct QuantizedCore {
  using GatedOut = float;
  static constexpr int kMaxRows = kRowsAtOnce;
  static constexpr int kVectors = kPanelVectors;
  static constexpr int kCols = kVectors * V::kWidth;
  static constexpr int64_t kGroup = Format::kGroup;
  static constexpr int64_t kHeadBytes = kCols * Format::kHeadBytes;
  static constexpr int64_t kGroupBytes = kCols * Format::kColumnBytes;
  static constexpr bool kIsInt4 = Format::kBits == 4;
  static constexpr int64_t RowBytes(int64_t k) { return QuantizedRowBytes<Format>(k); }

  template <int kRows>
  static STRATA_INLINE void Accumulate(const Block& b, typename V::T (&acc)[kRows][kVectors]) {
    const char* weights = b.weights;
    const char* prefetch = b.prefetch;
    const float* head = reinterpret_cast<const float*>(b.head);
    const OperandGroup* groups[kRows];
    for (int r = 0; r < kRows; ++r) {
      groups[r] = reinterpret_cast<const OperandGroup*>(b.a + r * b.a_stride + b.k) +
                  b.first / Format::kGroup;
    }
    for (int64_t g = 0; g < b.count / Format::kGroup; ++g) {
      const char* codes = weights + kCols * (Format::kColumnBytes - Format::kScaleBytes);
      typename I::T sums[kRows][kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        typename I::T zero;
        if constexpr (kIsInt4) zero = I::Codes(codes + kCols + c * V::kWidth);
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
          if constexpr (kIsInt4) {
            sums[r][c] = I::Start4(zero, groups[r][g].offset);
          } else {
            sums[r][c] = I::Start(groups[r][g].offset);
          }
        }
      }
      for (int64_t i = g * kGroup; i < (g + 1) * kGroup; i += Format::kPerLane) {
#pragma GCC unroll 4
        for (int c = 0; c < kCols / 16; ++c) {  // a cache line each
          __builtin_prefetch(prefetch);
          prefetch += b.prefetch_step;
        }
        typename I::T w[kVectors];
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) w[c] = I::FromBytes(weights + c * V::kWidth * 4);
        weights += kCols * 4;
        if constexpr (!kIsInt4) {
          AddProducts<kRows>(b, i, w, sums);
        } else {
          typename I::T half[kVectors];
#pragma GCC unroll 4
          for (int c = 0; c < kVectors; ++c) half[c] = I::LowNibbles(w[c]);
          AddProducts<kRows>(b, i, half, sums);
#pragma GCC unroll 4
          for (int c = 0; c < kVectors; ++c) half[c] = I::HighNibbles(w[c]);
          AddProducts<kRows>(b, i + 4, half, sums);
        }
      }
      weights += kCols * Format::kScaleBytes;
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        typename V::T scale;
        if constexpr (kIsInt4) {
          scale =
              V::Mul(I::ToFloat(I::Codes(codes + c * V::kWidth)), V::Load(head + c * V::kWidth));
        } else {
          scale = V::LoadBf16(reinterpret_cast<const uint16_t*>(codes) + c * V::kWidth);
        }
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
          const typename V::T x = V::Mul(I::ToFloat(sums[r][c]), V::Set1(groups[r][g].scale));
          acc[r][c] = V::Fma(x, scale, acc[r][c]);
        }
      }
    }
  }

  // The products of four elements of K from i on.
  template <int kRows>
  static STRATA_INLINE void AddProducts(const Block& b, int64_t i,
                                        const typename I::T (&w)[kVectors],
                                        typename I::T (&sums)[kRows][kVectors]) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const typename I::T x = I::Set4(b.Row<int8_t>(r) + i);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        sums[r][c] = kIsInt4 ? I::Dot4(sums[r][c], w[c], x) : I::Dot8(sums[r][c], w[c], x);
        I::Keep(sums[r][c]);
      }
    }
  }
};

// A row of f32 becomes int8 with a scale per group, the largest magnitude of a
// group 127. NaN or infinity in a group makes its scale NaN.
template <class V, class Format>
void QuantizeRows(const QuantizeTask& t) {
  const int64_t row_bytes = QuantizedRowBytes<Format>(t.k);
  for (int64_t row = 0; row < t.rows; ++row) {
    const float* x = t.x + row * t.cols;
    int8_t* out = static_cast<int8_t*>(t.out) + row * row_bytes;
    OperandGroup* groups = reinterpret_cast<OperandGroup*>(out + t.k);
    for (int64_t first = 0; first < t.k; first += Format::kGroup, ++groups) {
      const int64_t end = first + Format::kGroup;
      const int64_t valid = end < t.cols ? end : t.cols;
      typename V::T largest = V::Set1(0.0f);
      typename V::T nan = V::Set1(0.0f);
      for (int64_t i = first; i < valid; i += V::kWidth) {
        const typename V::T v = V::Load(x + i);
        largest = V::Max(largest, V::Max(v, V::Sub(V::Set1(0.0f), v)));
        nan = V::Fma(v, V::Set1(0.0f), nan);
      }
      const float magnitude = V::ReduceMax(largest);
      // Below 1e-30 a group counts as zero: its inverse would overflow.
      const float inverse = magnitude > 1e-30f ? 127.0f / magnitude : 0.0f;
      // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
      const typename V::T magic = V::Set1(12582912.0f);
      typename V::T sum = V::Set1(0.0f);
      for (int64_t i = first; i < valid; i += V::kWidth) {
        const typename V::T scaled = V::Mul(V::Load(x + i), V::Set1(inverse));
        const typename V::T rounded = V::Sub(V::Add(scaled, magic), magic);
        V::StoreInt8(out + i, rounded);
        sum = V::Add(sum, rounded);
      }
      for (int64_t i = valid > first ? valid : first; i < end; ++i) out[i] = 0;
      // Exact: a sum of at most 64 integers below 128.
      const float total = V::ReduceAdd(sum);
      groups->scale = magnitude / 127.0f + V::ReduceAdd(nan);
      groups->offset = total == total ? static_cast<int32_t>(total) * Format::kOperandFactor : 0;
    }
  }
}

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_QUANTIZED_KERNEL_H_
