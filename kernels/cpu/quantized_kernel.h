// Products with int8 and int4 weights, over a vector type V of floats and a
// trait I of integer vectors of as many 32-bit lanes: a Core of
// mat_mul_kernel.h. Within a group of K the products of a lane are summed
// exactly in int32; each group then adds one term to the f32 sum. Rules of
// vector_math.h apply.
//
// I provides T, FromBytes(p) (the 4 bytes of each lane), Store, Codes(p) (a byte a
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
  using ManyRows = void;
  static constexpr bool kStages = false;
  static constexpr int kMaxRows = kRowsAtOnce;
  static constexpr int kManyRowsFrom = 2 * kMaxRows + 1;
  static constexpr int kVectors = kPanelVectors;
  static constexpr int kCols = kVectors * V::kWidth;
  static constexpr int64_t kChunkBytes = kL2ChunkBytes;
  static constexpr int64_t kHeadBytes = kCols * Format::kHeadBytes;
  static constexpr int64_t kGroup = Format::kGroup;
  static constexpr int64_t kGroupBytes = kCols * Format::kColumnBytes;
  static constexpr int64_t kUsedGroupBytes = kGroupBytes;
  static constexpr int64_t kScaleLines = (kCols * Format::kScaleBytes + 63) / 64;
  static constexpr int64_t kFetches = kGroup / Format::kPerLane * kCols / 16 + kScaleLines;
  static constexpr int64_t RowBytes(int64_t k) { return QuantizedRowBytes<Format>(k); }

  // Of the row's group that starts at element `k`.
  static STRATA_INLINE const OperandGroup* GroupOf(const Block& b, int64_t row, int64_t k) {
    return reinterpret_cast<const OperandGroup*>(b.a + row * b.a_stride + b.k) + k / kGroup;
  }

  // `kBytes` of weights are about to be used.
  template <int64_t kBytes, class Fetch>
  static STRATA_INLINE void FetchFor(Fetch& fetch) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < kBytes; i += 64) fetch.Next();
  }

  // sums += the products of four elements of K, from i on in the chunk.
  template <int kRows>
  static STRATA_INLINE void AddProducts(const Block& b, int64_t i,
                                        const typename I::T (&w)[kVectors],
                                        typename I::T (&sums)[kRows][kVectors]) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const typename I::T x = I::Set4(b.Row<int8_t>(r) + i);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        sums[r][c] =
            Format::kBits == 4 ? I::Dot4(sums[r][c], w[c], x) : I::Dot8(sums[r][c], w[c], x);
        I::Keep(sums[r][c]);
      }
    }
  }

  // acc += sums, scaled: a group's term of column vector c.
  template <int kRows>
  static STRATA_INLINE void AddGroup(const Block& b, int64_t k, int c, typename V::T scale,
                                     const typename I::T (&sums)[kRows][kVectors],
                                     typename V::T (&acc)[kRows][kVectors]) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const typename V::T x = V::Mul(I::ToFloat(sums[r][c]), V::Set1(GroupOf(b, r, k)->scale));
      acc[r][c] = V::Fma(x, scale, acc[r][c]);
    }
  }
};

template <class V, class I, int kPanelVectors, int kRowsAtOnce>
struct Int8Core : QuantizedCore<V, I, Int8Format, kPanelVectors, kRowsAtOnce> {
  using Base = QuantizedCore<V, I, Int8Format, kPanelVectors, kRowsAtOnce>;
  using Base::kCols;
  using Base::kGroup;
  static constexpr int kVectors = kPanelVectors;

  template <int kRows, class Fetch>
  static STRATA_INLINE void Accumulate(const Block& b, Fetch fetch,
                                       typename V::T (&acc)[kRows][kVectors]) {
    const char* weights = b.weights;
    for (int64_t first = 0; first < b.count; first += kGroup) {
      const int64_t k = b.first + first;
      typename I::T sums[kRows][kVectors];
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) sums[r][c] = I::Start(Base::GroupOf(b, r, k)->offset);
      }
      for (int64_t i = first; i < first + kGroup; i += 4, weights += kCols * 4) {
        Base::template FetchFor<kCols * 4>(fetch);
        typename I::T w[kVectors];
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) w[c] = I::FromBytes(weights + c * V::kWidth * 4);
        Base::template AddProducts<kRows>(b, i, w, sums);
      }
      Base::template FetchFor<kCols * Int8Format::kScaleBytes>(fetch);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c, weights += V::kWidth * 2) {
        const typename V::T scale = V::LoadBf16(reinterpret_cast<const uint16_t*>(weights));
        Base::template AddGroup<kRows>(b, k, c, scale, sums, acc);
      }
    }
  }
};

// What int4 weights are once unpacked: of a group, 16 q as [kGroup / 4][cols][4]
// bytes, then [cols] scales (of the column times the code) and zeros in int32.
template <class V, class I, int kPanelVectors, int kRowsAtOnce>
struct StagedInt4Core : QuantizedCore<V, I, Int4Format, kPanelVectors, kRowsAtOnce> {
  using Base = QuantizedCore<V, I, Int4Format, kPanelVectors, kRowsAtOnce>;
  using Base::kCols;
  using Base::kGroup;
  static constexpr int kVectors = kPanelVectors;
  static constexpr bool kStages = true;
  static constexpr int64_t kUsedGroupBytes = kCols * (kGroup + 8);
  static constexpr int64_t kFetches = kGroup / 4 * kCols / 16;

  static void Stage(const char* head, const char* weights, int64_t count, char* out) {
    const float* column_scales = reinterpret_cast<const float*>(head);
    for (int64_t first = 0; first < count; first += kGroup) {
      for (int64_t i = 0; i < kGroup; i += 8, weights += kCols * 4, out += kCols * 8) {
        for (int c = 0; c < kCols; c += V::kWidth) {
          const typename I::T w = I::FromBytes(weights + c * 4);
          I::Store(out + c * 4, I::LowNibbles(w));
          I::Store(out + (kCols + c) * 4, I::HighNibbles(w));
        }
      }
      float* scales = reinterpret_cast<float*>(out);
      for (int c = 0; c < kCols; c += V::kWidth) {
        V::Store(scales + c, V::Mul(I::ToFloat(I::Codes(weights + c)), V::Load(column_scales + c)));
        I::Store(out + (kCols + c) * 4, I::Codes(weights + kCols + c));
      }
      weights += kCols * 2;
      out += kCols * 8;
    }
  }

  template <int kRows, class Fetch>
  static STRATA_INLINE void Accumulate(const Block& b, Fetch fetch,
                                       typename V::T (&acc)[kRows][kVectors]) {
    const char* weights = b.weights;
    for (int64_t first = 0; first < b.count; first += kGroup) {
      const int64_t k = b.first + first;
      const char* scales = weights + kCols * kGroup;
      typename I::T sums[kRows][kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        const typename I::T zero = I::FromBytes(scales + (kCols + c * V::kWidth) * 4);
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
          sums[r][c] = I::Start4(zero, Base::GroupOf(b, r, k)->offset);
        }
      }
      for (int64_t i = first; i < first + kGroup; i += 4, weights += kCols * 4) {
        Base::template FetchFor<kCols * 4>(fetch);
        typename I::T w[kVectors];
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) w[c] = I::FromBytes(weights + c * V::kWidth * 4);
        Base::template AddProducts<kRows>(b, i, w, sums);
      }
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        const typename V::T scale = V::Load(reinterpret_cast<const float*>(scales) + c * V::kWidth);
        Base::template AddGroup<kRows>(b, k, c, scale, sums, acc);
      }
      weights += kCols * 8;
    }
  }
};

template <class V, class I, int kPanelVectors, int kRowsAtOnce>
struct StagedInt4 {
  using Core = StagedInt4Core<V, I, kPanelVectors, kRowsAtOnce>;
};
template <class V, class I, int kPanelVectors>
struct StagedInt4<V, I, kPanelVectors, 0> {
  using Core = void;
};

// Unpacked in registers, anew for each block of rows: for few rows cheaper than a
// detour by memory. For many, kManyRowsAtOnce of them at once, that depends on
// whether unpacking and products want the same ports of the CPU; 0: never.
template <class V, class I, int kPanelVectors, int kRowsAtOnce, int kManyRowsAtOnce>
struct Int4Core : QuantizedCore<V, I, Int4Format, kPanelVectors, kRowsAtOnce> {
  using Base = QuantizedCore<V, I, Int4Format, kPanelVectors, kRowsAtOnce>;
  using ManyRows = typename StagedInt4<V, I, kPanelVectors, kManyRowsAtOnce>::Core;
  using Base::kCols;
  using Base::kGroup;
  static constexpr int kVectors = kPanelVectors;

  template <int kRows, class Fetch>
  static STRATA_INLINE void Accumulate(const Block& b, Fetch fetch,
                                       typename V::T (&acc)[kRows][kVectors]) {
    const float* column_scales = reinterpret_cast<const float*>(b.head);
    const char* weights = b.weights;
    for (int64_t first = 0; first < b.count; first += kGroup) {
      const int64_t k = b.first + first;
      const char* codes = weights + kCols * kGroup / 2;
      typename I::T sums[kRows][kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        const typename I::T zero = I::Codes(codes + kCols + c * V::kWidth);
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
          sums[r][c] = I::Start4(zero, Base::GroupOf(b, r, k)->offset);
        }
      }
      for (int64_t i = first; i < first + kGroup; i += 8, weights += kCols * 4) {
        Base::template FetchFor<kCols * 4>(fetch);
        typename I::T w[kVectors];
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) {
          w[c] = I::LowNibbles(I::FromBytes(weights + c * V::kWidth * 4));
        }
        Base::template AddProducts<kRows>(b, i, w, sums);
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) {
          w[c] = I::HighNibbles(I::FromBytes(weights + c * V::kWidth * 4));
        }
        Base::template AddProducts<kRows>(b, i + 4, w, sums);
      }
      Base::template FetchFor<kCols * Int4Format::kScaleBytes>(fetch);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        const typename V::T scale = V::Mul(I::ToFloat(I::Codes(codes + c * V::kWidth)),
                                           V::Load(column_scales + c * V::kWidth));
        Base::template AddGroup<kRows>(b, k, c, scale, sums, acc);
      }
      weights += kCols * 2;
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
