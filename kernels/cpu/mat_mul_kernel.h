// The matrix product over a vector type V: one microkernel family for one to
// many rows. A panel is taken in chunks of K that stay in L1 while all rows of
// a tile pass over them; a microkernel holds the sums of a few rows times one
// panel in registers over a chunk and parks them in memory until the next. So
// each sum is one chain over K, whatever the number of rows. Rules of
// vector_math.h apply.
//
// A Core provides kMaxRows, kVectors per panel row, their kCols, the kHeadBytes
// that a panel starts with, the kGroup elements of K that then stand together,
// their kGroupBytes, RowBytes(k) of an operand row, the type GatedOut that a
// gated product is written in, and Accumulate<kRows>(block, acc), which calls
// Prefetch kPrefetches times for each group. It may name another Core that does
// the same for many rows (ManyRows, else void), and such a one may unpack each
// chunk before it is used (kStages, Stage) to kUsedGroupBytes a group.

#ifndef STRATA_KERNELS_CPU_MAT_MUL_KERNEL_H_
#define STRATA_KERNELS_CPU_MAT_MUL_KERNEL_H_

#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

// Of a panel, at a time: with the rows' operands it fits in any L1 of 32 KiB.
constexpr int64_t kChunkBytes = 16 * 1024;
// If one block is all there is, a chunk is only how far ahead weights are fetched.
constexpr int64_t kOneBlockChunkBytes = 8 * 1024;
constexpr int64_t kMaxTileRows = 96;  // whose parked sums still fit in L1 or close by

// Elements of K in a chunk, a multiple of 16.
template <class Core>
constexpr int64_t ChunkOfK(int64_t bytes) {
  return bytes / Core::kUsedGroupBytes * Core::kGroup;
}

// A few rows times one chunk of one panel.
struct Block {
  const char* a;        // the first row
  int64_t a_stride;     // bytes from one row of a to the next
  int64_t k;            // elements of a row
  int64_t first;        // where in K the chunk starts
  int64_t count;        // elements of K in this chunk, a multiple of 16
  const char* head;     // of the panel
  const char* weights;  // of this chunk; staged, if the core stages
  // Weights that will be needed later. The blocks of a tile share the fetching
  // of the next chunk evenly, so that memory is never idle.
  const char* prefetch;
  int64_t prefetch_step;  // bytes from one Prefetch to the next

  // Row r from the chunk's first element.
  template <class Operand>
  const Operand* Row(int64_t r) const {
    return reinterpret_cast<const Operand*>(a + r * a_stride) + first;
  }
};

STRATA_INLINE void Prefetch(const Block& b, const char*& at) {
  __builtin_prefetch(at);
  at += b.prefetch_step;
}

// What the cores of plain weights, `kBytes` each, have in common.
template <class V, int kPanelVectors, int kRowsAtOnce, int kBytes, class Operand>
struct PlainCore {
  using GatedOut = Operand;
  using ManyRows = void;
  static constexpr bool kStages = false;
  static constexpr int kMaxRows = kRowsAtOnce;
  static constexpr int kVectors = kPanelVectors;
  static constexpr int kCols = kVectors * V::kWidth;
  static constexpr int64_t kHeadBytes = 0;
  static constexpr int64_t kGroup = 16;
  static constexpr int64_t kGroupBytes = kGroup * kCols * kBytes;
  static constexpr int64_t kUsedGroupBytes = kGroupBytes;
  static constexpr int64_t kPrefetches = kGroupBytes / 64;
  static constexpr int64_t RowBytes(int64_t k) { return k * static_cast<int64_t>(sizeof(Operand)); }
};

// f32 weights and operands.
template <class V, int kPanelVectors, int kRowsAtOnce>
struct F32Core : PlainCore<V, kPanelVectors, kRowsAtOnce, 4, float> {
  static constexpr int kVectors = kPanelVectors;
  static constexpr int kCols = kVectors * V::kWidth;

  template <int kRows>
  static STRATA_INLINE void Accumulate(const Block& b, typename V::T (&acc)[kRows][kVectors]) {
    const float* w = reinterpret_cast<const float*>(b.weights);
    const char* prefetch = b.prefetch;
    for (int64_t i = 0; i < b.count; ++i, w += kCols) {
#pragma GCC unroll 4
      for (int c = 0; c < kCols / 16; ++c) {
        Prefetch(b, prefetch);
      }
      typename V::T wide[kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) wide[c] = V::Load(w + c * V::kWidth);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const typename V::T x = V::Set1(b.Row<float>(r)[i]);
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) acc[r][c] = V::Fma(wide[c], x, acc[r][c]);
      }
    }
  }
};

// bf16 weights, widened, with f32 operands.
template <class V, int kPanelVectors, int kRowsAtOnce>
struct WidenedBf16Core : PlainCore<V, kPanelVectors, kRowsAtOnce, 2, float> {
  static constexpr int kVectors = kPanelVectors;
  static constexpr int kCols = kVectors * V::kWidth;

  template <int kRows>
  static STRATA_INLINE void Accumulate(const Block& b, typename V::T (&acc)[kRows][kVectors]) {
    static_assert(kCols == 16);  // one cache line per pair
    const uint16_t* w = reinterpret_cast<const uint16_t*>(b.weights);
    const char* prefetch = b.prefetch;
    for (int64_t i = 0; i < b.count; i += 2, w += 2 * kCols) {
      Prefetch(b, prefetch);
      typename V::T even[kVectors];
      typename V::T odd[kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) V::LoadBf16Pairs(w + 2 * c * V::kWidth, &even[c], &odd[c]);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const typename V::T x0 = V::Set1(b.Row<float>(r)[i]);
        const typename V::T x1 = V::Set1(b.Row<float>(r)[i + 1]);
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
  using Out = typename Core::GatedOut;
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

// Where a block's rows stand in the whole product.
template <class Out>
struct Placement {
  float* sums;    // [rows, panel columns], parked between chunks
  bool is_first;  // chunk: sums start from zero
  bool is_last;   // chunk: sums are written to out
  Out* out;       // from the panel's first column
  int64_t n;      // elements from one row of out to the next
  int64_t valid;  // columns of the panel that exist
  bool add;
};

template <class V, class Core, class Epilogue, int kRows>
__attribute__((noinline)) void MicroKernel(const Block& block,
                                           const Placement<typename Epilogue::Out>& place) {
  constexpr int kCols = Core::kVectors * V::kWidth;
  typename V::T acc[kRows][Core::kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < Core::kVectors; ++c) {
      acc[r][c] = place.is_first ? V::Set1(0.0f) : V::Load(place.sums + r * kCols + c * V::kWidth);
    }
  }
  Core::template Accumulate<kRows>(block, acc);
  if (place.is_last) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      Epilogue::Row(acc[r], place.add, place.valid, place.out + r * place.n);
    }
    return;
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < Core::kVectors; ++c) {
      V::Store(place.sums + r * kCols + c * V::kWidth, acc[r][c]);
    }
  }
}

template <class V, class Core, class Epilogue, int kRows>
STRATA_INLINE void DispatchRows(int64_t rows, const Block& block,
                                const Placement<typename Epilogue::Out>& place) {
  if (rows == kRows) {
    MicroKernel<V, Core, Epilogue, kRows>(block, place);
  } else if constexpr (kRows > 1) {
    DispatchRows<V, Core, Epilogue, kRows - 1>(rows, block, place);
  }
}

// Rows [first, first + rows) times one panel.
template <class V, class Core, class Epilogue>
void RunPanel(const MatMulTask& t, int64_t first, int64_t rows, int64_t panel) {
  constexpr int64_t kCols = Core::kCols;
  alignas(64) float sums[kMaxTileRows * kCols];
  const int64_t a_stride = Core::RowBytes(t.k);
  const char* a = static_cast<const char*>(t.a) + first * a_stride;
  const int64_t col = panel * Epilogue::kOutCols;
  auto* out = static_cast<typename Epilogue::Out*>(t.out) + first * t.n + col;
  const int64_t valid = t.n - col < Epilogue::kOutCols ? t.n - col : Epilogue::kOutCols;
  const char* head = static_cast<const char*>(t.panels) +
                     panel * (Core::kHeadBytes + t.k / Core::kGroup * Core::kGroupBytes);
  const char* weights = head + Core::kHeadBytes;
  const int64_t blocks = (rows + Core::kMaxRows - 1) / Core::kMaxRows;
  alignas(64) char staged[Core::kStages ? kChunkBytes : 1];
  const int64_t chunk = ChunkOfK<Core>(blocks > 1 ? kChunkBytes : kOneBlockChunkBytes);
  for (int64_t start = 0; start < t.k; start += chunk) {
    const int64_t count = t.k - start < chunk ? t.k - start : chunk;
    const int64_t chunk_bytes = count / Core::kGroup * Core::kGroupBytes;
    if constexpr (Core::kStages) Core::Stage(head, weights, count, staged);
    for (int64_t b = 0, row = 0; b < blocks; ++b) {
      // Even blocks: 8 rows are 4 + 4, not 6 + 2.
      const int64_t end = rows * (b + 1) / blocks;
      DispatchRows<V, Core, Epilogue, Core::kMaxRows>(
          end - row,
          {a + row * a_stride, a_stride, t.k, start, count, head, Core::kStages ? staged : weights,
           weights + chunk_bytes + chunk_bytes * b / blocks,
           Core::kGroupBytes / (Core::kPrefetches * blocks)},
          {sums + row * kCols, start == 0, start + count == t.k, out + row * t.n, t.n, valid,
           t.add});
      row = end;
    }
    weights += chunk_bytes;
  }
}

// Rows whose operands stay in a core's L2 while the panels pass by.
template <class Core>
int64_t RowsPerTile(int64_t k) {
  constexpr int64_t kTileBytes = 1024 * 1024;
  const int64_t rows = kTileBytes / Core::RowBytes(k);
  if (rows >= kMaxTileRows) return kMaxTileRows / Core::kMaxRows * Core::kMaxRows;
  return rows < Core::kMaxRows ? Core::kMaxRows : rows / Core::kMaxRows * Core::kMaxRows;
}

template <class Core, class ManyRows>
struct ManyRowsOf {
  using Type = ManyRows;
};
template <class Core>
struct ManyRowsOf<Core, void> {
  using Type = Core;
};

template <class V, class Core, class Epilogue>
void RunPanels(const MatMulTask& t) {
  const int64_t tile = RowsPerTile<Core>(t.k);
  for (int64_t first = 0; first < t.rows; first += tile) {
    const int64_t rows = t.rows - first < tile ? t.rows - first : tile;
    for (int64_t p = t.first_panel; p < t.end_panel; ++p) {
      if (rows > 2 * Core::kMaxRows) {
        RunPanel<V, typename ManyRowsOf<Core, typename Core::ManyRows>::Type, Epilogue>(t, first,
                                                                                        rows, p);
      } else {
        RunPanel<V, Core, Epilogue>(t, first, rows, p);
      }
    }
  }
}

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_MAT_MUL_KERNEL_H_
