// The matrix product over a vector type V: one microkernel family for one to
// many rows. A microkernel keeps the sums of up to Core::kMaxRows rows times one panel in
// registers over the whole of K, so each sum has one fixed order whatever the
// number of rows. Rules of vector_math.h apply.
//
// A Core provides Operand, kMaxRows, kVectors (vectors per panel row),
// PanelBytes(k) and Accumulate<kRows>(a, k, panel, acc).

#ifndef STRATA_KERNELS_CPU_MAT_MUL_KERNEL_H_
#define STRATA_KERNELS_CPU_MAT_MUL_KERNEL_H_

#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

// How far ahead of its use a panel is fetched: about 2 us of one core's share
// of the memory bandwidth would be ideal, and 4 KiB is where it levels off.
constexpr int64_t kPrefetchBytes = 4096;

// f32 weights and operands.
template <class V, int kPanelVectors, int kRowsAtOnce>
struct F32Core {
  using Operand = float;
  static constexpr int kMaxRows = kRowsAtOnce;
  static constexpr int kVectors = kPanelVectors;
  static constexpr int kCols = kVectors * V::kWidth;
  static int64_t PanelBytes(int64_t k) { return k * kCols * 4; }

  template <int kRows>
  static STRATA_INLINE void Accumulate(const float* a, int64_t k, const char* panel,
                                       typename V::T (&acc)[kRows][kVectors]) {
    const float* w = reinterpret_cast<const float*>(panel);
    for (int64_t i = 0; i < k; ++i, w += kCols) {
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) {
        if (c * V::kWidth % 16 == 0) __builtin_prefetch(w + c * V::kWidth + kPrefetchBytes / 4);
      }
      typename V::T wide[kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) wide[c] = V::Load(w + c * V::kWidth);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const typename V::T x = V::Set1(a[r * k + i]);
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) acc[r][c] = V::Fma(wide[c], x, acc[r][c]);
      }
    }
  }
};

// bf16 weights, widened, with f32 operands.
template <class V, int kPanelVectors, int kRowsAtOnce>
struct WidenedBf16Core {
  using Operand = float;
  static constexpr int kMaxRows = kRowsAtOnce;
  static constexpr int kVectors = kPanelVectors;
  static constexpr int kCols = kVectors * V::kWidth;
  static int64_t PanelBytes(int64_t k) { return k * kCols * 2; }

  template <int kRows>
  static STRATA_INLINE void Accumulate(const float* a, int64_t k, const char* panel,
                                       typename V::T (&acc)[kRows][kVectors]) {
    const uint16_t* w = reinterpret_cast<const uint16_t*>(panel);
    for (int64_t i = 0; i < k; i += 2, w += 2 * kCols) {
      __builtin_prefetch(w + kPrefetchBytes / 2);
      typename V::T even[kVectors];
      typename V::T odd[kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) V::LoadBf16Pairs(w + 2 * c * V::kWidth, &even[c], &odd[c]);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const typename V::T x0 = V::Set1(a[r * k + i]);
        const typename V::T x1 = V::Set1(a[r * k + i + 1]);
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) {
          acc[r][c] = V::Fma(odd[c], x1, acc[r][c]);
          acc[r][c] = V::Fma(even[c], x0, acc[r][c]);
        }
      }
    }
  }
};

// Writes columns [0, valid) of one row of sums to f32 `out`.
template <class V, class Core>
struct StoreEpilogue {
  using Out = float;
  static constexpr int kOutCols = Core::kVectors * V::kWidth;

  static STRATA_INLINE void Row(const typename V::T (&sums)[Core::kVectors], bool add,
                                int64_t valid, float* out) {
    if (valid < kOutCols) {
      float padded[kOutCols];
#pragma GCC unroll 4
      for (int c = 0; c < Core::kVectors; ++c) V::Store(padded + c * V::kWidth, sums[c]);
      for (int64_t j = 0; j < valid; ++j) out[j] = add ? out[j] + padded[j] : padded[j];
      return;
    }
#pragma GCC unroll 4
    for (int c = 0; c < Core::kVectors; ++c) {
      float* at = out + c * V::kWidth;
      V::Store(at, add ? V::Add(V::Load(at), sums[c]) : sums[c]);
    }
  }
};

// silu(gate) * up: the first half of the sums is gate, the second up.
template <class V, class Core>
struct GatedEpilogue {
  using Out = typename Core::Operand;
  static constexpr int kHalf = Core::kVectors / 2;
  static constexpr int kOutCols = kHalf * V::kWidth;

  static STRATA_INLINE void Row(const typename V::T (&sums)[Core::kVectors], bool /*add*/,
                                int64_t valid, Out* out) {
    Out padded[kOutCols];
    Out* to = valid < kOutCols ? padded : out;
#pragma GCC unroll 4
    for (int c = 0; c < kHalf; ++c) {
      StoreAny<V>(to + c * V::kWidth, SiluMul<V>(sums[c], sums[c + kHalf]));
    }
    if (valid < kOutCols) {
      for (int64_t j = 0; j < valid; ++j) out[j] = padded[j];
    }
  }
};

template <class V, class Core, class Epilogue, int kRows>
__attribute__((noinline)) void MicroKernel(const typename Core::Operand* a, const char* panel,
                                           const MatMulTask& t, int64_t valid,
                                           typename Epilogue::Out* out) {
  typename V::T acc[kRows][Core::kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < Core::kVectors; ++c) acc[r][c] = V::Set1(0.0f);
  }
  Core::template Accumulate<kRows>(a, t.k, panel, acc);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) Epilogue::Row(acc[r], t.add, valid, out + r * t.n);
}

template <class V, class Core, class Epilogue, int kRows>
STRATA_INLINE void DispatchRows(int64_t rows, const typename Core::Operand* a, const char* panel,
                                const MatMulTask& t, int64_t valid, typename Epilogue::Out* out) {
  if (rows == kRows) {
    MicroKernel<V, Core, Epilogue, kRows>(a, panel, t, valid, out);
  } else if constexpr (kRows > 1) {
    DispatchRows<V, Core, Epilogue, kRows - 1>(rows, a, panel, t, valid, out);
  }
}

// Rows whose operands stay in a core's L2 while the panels pass by; a panel
// of its own size stays with them and serves all blocks of the tile.
template <class Core>
int64_t RowsPerTile(int64_t k) {
  constexpr int64_t kTileBytes = 768 * 1024;
  const int64_t blocks =
      kTileBytes / (k * static_cast<int64_t>(sizeof(typename Core::Operand)) * Core::kMaxRows);
  return (blocks < 1 ? 1 : blocks) * Core::kMaxRows;
}

template <class V, class Core, class Epilogue>
void RunPanels(const MatMulTask& t) {
  const auto* a = static_cast<const typename Core::Operand*>(t.a);
  auto* out = static_cast<typename Epilogue::Out*>(t.out);
  const int64_t tile = RowsPerTile<Core>(t.k);
  for (int64_t first = 0; first < t.rows; first += tile) {
    const int64_t end = first + tile < t.rows ? first + tile : t.rows;
    for (int64_t p = t.first_panel; p < t.end_panel; ++p) {
      const char* panel = static_cast<const char*>(t.panels) + p * Core::PanelBytes(t.k);
      const int64_t col = p * Epilogue::kOutCols;
      const int64_t valid = t.n - col < Epilogue::kOutCols ? t.n - col : Epilogue::kOutCols;
      for (int64_t row = first; row < end;) {
        // Even blocks: 8 rows are 4 + 4, not 6 + 2.
        const int64_t blocks = (end - row + Core::kMaxRows - 1) / Core::kMaxRows;
        const int64_t rows = (end - row + blocks - 1) / blocks;
        DispatchRows<V, Core, Epilogue, Core::kMaxRows>(rows, a + row * t.k, panel, t, valid,
                                                        out + row * t.n + col);
        row += rows;
      }
    }
  }
}

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_MAT_MUL_KERNEL_H_
