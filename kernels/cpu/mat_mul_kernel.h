// The matrix product over a vector type V: one microkernel family for one to
// many rows. A panel is taken in chunks of K that stay in a core's cache while
// all rows of a tile pass over them; a microkernel holds the sums of a few rows
// times one panel in registers over a chunk and parks them in memory until the
// next. So each sum is one chain over K, whatever the number of rows. Rules of
// vector_math.h apply.
//
// A Core provides kMaxRows, kVectors per panel row, their kCols, the kHeadBytes
// that a panel starts with, the kGroup elements of K that then stand together,
// their kGroupBytes, RowBytes(k) of an operand row, kChunkBytes of a panel at a
// time, the type GatedOut that a gated product is written in, and
// Accumulate<kRows>(block, fetch, acc), which calls fetch.Next() kFetches times
// for each group. It may name another Core that does the same for many rows
// (ManyRows, else void; of at least kManyRowsFrom), and such a one may unpack
// each chunk before it is used (kStages, Stage) to kUsedGroupBytes a group.

#ifndef STRATA_KERNELS_CPU_MAT_MUL_KERNEL_H_
#define STRATA_KERNELS_CPU_MAT_MUL_KERNEL_H_

#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

// Chunks that fit in any L1 of 32 KiB with the rows' operands, for cores that
// widen operands beside them; and long ones, for L2, from which weights come fast
// enough where several rows use each, and which park sums the less often.
constexpr int64_t kL1ChunkBytes = 16 * 1024;
constexpr int64_t kL2ChunkBytes = 128 * 1024;
// How far ahead weights are fetched if one block is all there is.
constexpr int64_t kNearBytes = 8 * 1024;
constexpr int64_t kMaxTileRows = 96;  // whose parked sums still fit in L1 or close by

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A few rows times one chunk of one panel.
struct Block {
  const char* a;        // the first row
  int64_t a_stride;     // bytes from one row of a to the next
  int64_t k;            // elements of a row
  int64_t first;        // where in K the chunk starts
  int64_t count;        // elements of K in this chunk, a multiple of 16
  const char* head;     // of the panel
  const char* weights;  // of this chunk; staged, if the core stages

  // Row r from the chunk's first element.
  template <class Operand>
  const Operand* Row(int64_t r) const {
    return reinterpret_cast<const Operand*>(a + r * a_stride) + first;
  }
};

// Fetches weights that will be needed later. One block alone fetches to L1, a
// little ahead, or leaves it to the CPU. The blocks of a tile share the fetching of the next chunk
// evenly, so that memory is never idle, and to L2: more lines can be on their way there, and in L1
// the next chunk would displace the current one.
struct FetchNear {
  const char* at;

  STRATA_INLINE void Next() {
    __builtin_prefetch(at, 0, 3);
    at += 64;
  }
};
struct FetchNothing {
  STRATA_INLINE void Next() {}
};
struct FetchShare {
  const char* at;
  int64_t step;  // bytes from one Next to the next

  STRATA_INLINE void Next() {
    __builtin_prefetch(at, 0, 2);
    at += step;
  }
};

// What the cores of plain weights, `kBytes` each, have in common.
template <class V, int kPanelVectors, int kRowsAtOnce, int kBytes, class Operand>
struct PlainCore {
  using GatedOut = Operand;
  using ManyRows = void;
  static constexpr bool kStages = false;
  static constexpr int kMaxRows = kRowsAtOnce;
  static constexpr int kManyRowsFrom = 2 * kMaxRows + 1;
  static constexpr int kVectors = kPanelVectors;
  static constexpr int kCols = kVectors * V::kWidth;
  static constexpr int64_t kChunkBytes = kL1ChunkBytes;
  static constexpr int64_t kHeadBytes = 0;
  static constexpr int64_t kGroup = 16;
  static constexpr int64_t kGroupBytes = kGroup * kCols * kBytes;
  static constexpr int64_t kUsedGroupBytes = kGroupBytes;
  static constexpr int64_t kFetches = kGroupBytes / 64;
  static constexpr int64_t RowBytes(int64_t k) { return k * static_cast<int64_t>(sizeof(Operand)); }
};

// f32 weights and operands.
template <class V, int kPanelVectors, int kRowsAtOnce>
struct F32Core : PlainCore<V, kPanelVectors, kRowsAtOnce, 4, float> {
  static constexpr int kVectors = kPanelVectors;
  static constexpr int kCols = kVectors * V::kWidth;

  template <int kRows, class Fetch>
  static STRATA_INLINE void Accumulate(const Block& b, Fetch fetch,
                                       typename V::T (&acc)[kRows][kVectors]) {
    const float* w = reinterpret_cast<const float*>(b.weights);
    for (int64_t i = 0; i < b.count; ++i, w += kCols) {
#pragma GCC unroll 4
      for (int c = 0; c < kCols / 16; ++c) {
        fetch.Next();
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

  template <int kRows, class Fetch>
  static STRATA_INLINE void Accumulate(const Block& b, Fetch fetch,
                                       typename V::T (&acc)[kRows][kVectors]) {
    static_assert(kCols == 16);  // one cache line per pair
    const uint16_t* w = reinterpret_cast<const uint16_t*>(b.weights);
    for (int64_t i = 0; i < b.count; i += 2, w += 2 * kCols) {
      fetch.Next();
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

template <class V, class Core, class Epilogue, int kRows, class Fetch>
__attribute__((noinline)) void MicroKernel(const Block& block, const Fetch& fetch,
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
  Core::template Accumulate<kRows>(block, fetch, acc);
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

// Of at least kLeast rows.
template <class V, class Core, class Epilogue, int kRows, int kLeast, class Fetch>
STRATA_INLINE void DispatchRows(int64_t rows, const Block& block, const Fetch& fetch,
                                const Placement<typename Epilogue::Out>& place) {
  if (rows == kRows) {
    MicroKernel<V, Core, Epilogue, kRows>(block, fetch, place);
  } else if constexpr (kRows > kLeast) {
    DispatchRows<V, Core, Epilogue, kRows - 1, kLeast>(rows, block, fetch, place);
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
  const int64_t blocks = CeilDiv(rows, Core::kMaxRows);
  alignas(64) char staged[Core::kStages ? Core::kChunkBytes : 1];
  const int64_t chunk = Core::kChunkBytes / Core::kUsedGroupBytes * Core::kGroup;
  for (int64_t start = 0; start < t.k; start += chunk) {
    const int64_t count = t.k - start < chunk ? t.k - start : chunk;
    const int64_t chunk_bytes = count / Core::kGroup * Core::kGroupBytes;
    if constexpr (Core::kStages) Core::Stage(head, weights, count, staged);
    const auto block_at = [&](int64_t row) {
      return Block{
          a + row * a_stride, a_stride, t.k, start, count, head, Core::kStages ? staged : weights};
    };
    const auto place_at = [&](int64_t row) {
      return Placement<typename Epilogue::Out>{
          sums + row * kCols, start == 0, start + count == t.k, out + row * t.n, t.n, valid, t.add};
    };
    if (blocks == 1 && FetchesAlone()) {
      DispatchRows<V, Core, Epilogue, Core::kMaxRows, 1>(rows, block_at(0), FetchNothing{},
                                                         place_at(0));
    } else if (blocks == 1) {
      DispatchRows<V, Core, Epilogue, Core::kMaxRows, 1>(
          rows, block_at(0), FetchNear{weights + kNearBytes}, place_at(0));
    }
    for (int64_t b = 0, row = 0; blocks > 1 && b < blocks; ++b) {
      // Even blocks: 8 rows are 4 + 4, not 6 + 2.
      const int64_t end = rows * (b + 1) / blocks;
      const char* next = weights + chunk_bytes + chunk_bytes * b / blocks;
      DispatchRows<V, Core, Epilogue, Core::kMaxRows, (Core::kMaxRows + 1) / 2>(
          end - row, block_at(row),
          FetchShare{next, CeilDiv(Core::kGroupBytes, Core::kFetches * blocks)}, place_at(row));
      row = end;
    }
    weights += chunk_bytes;
  }
}

// Rows whose operands for a chunk stay in a core's L2 while the panels pass by, and all of them
// close by.
template <class Core>
int64_t RowsPerTile(int64_t k) {
  constexpr int64_t kTileBytes = 2 * 1024 * 1024;
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
  using Many = typename ManyRowsOf<Core, typename Core::ManyRows>::Type;
  const int64_t most = RowsPerTile<Core>(t.k);
  const int64_t tiles = CeilDiv(t.rows, most);
  for (int64_t tile = 0, first = 0; tile < tiles; ++tile) {
    const int64_t end = t.rows * (tile + 1) / tiles;
    for (int64_t p = t.first_panel; p < t.end_panel; ++p) {
      if (end - first >= Core::kManyRowsFrom) {
        RunPanel<V, Many, Epilogue>(t, first, end - first, p);
      } else {
        RunPanel<V, Core, Epilogue>(t, first, end - first, p);
      }
    }
    first = end;
  }
}

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_MAT_MUL_KERNEL_H_
