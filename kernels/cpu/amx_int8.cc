// AMX: int8 and int4 weights.
//
// A tile product sums a group of K exactly, as the AVX-512 kernels do, and what
// follows is their arithmetic, too. So both give the same bits, and few rows
// are left to AVX-512. Panels are the same as well; a chunk of each 16 columns
// is unpacked once for all rows.

#include <immintrin.h>
#include <stdint.h>

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/mat_mul_kernel.h"
#include "kernels/cpu/quantized_layout.h"
#include "kernels/cpu/vec16.h"
#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

using Panel = TilePanel<float>;
constexpr int64_t kTileCols = 16;

// Tiles 0 to 3 are the sums of four groups in turn, 4 and 5 hold operands, 6 and 7 weights.
constexpr int kSumTiles = 4;
constexpr int kOperandTiles = 2;

// More is worth the unpacking, and the second of two tiles that are not full.
constexpr int64_t kFewRows = 24;
constexpr int64_t kChunk = 1024;  // of K: a column tile's weights fill 16 KiB of L1

// A chunk of a column tile. What is to be multiplied is signed.
template <class Format>
struct Unpacked {
  static constexpr int64_t kGroups = kChunk / Format::kGroup;

  alignas(64) char weights[kGroups][Format::kGroup * kTileCols];
  alignas(64) float scales[kGroups][kTileCols];
  alignas(64) int32_t zeros[kGroups][kTileCols];
};

struct Int8Products : Int8Format {
  using Format = Int8Format;

  // weights: of a panel's groups
  static void Unpack(const char* /*head*/, const char* weights, int64_t tile, int64_t groups,
                     Unpacked<Format>& out) {
    const __m512i sign = _mm512_set1_epi8(-128);
    for (int64_t g = 0; g < groups; ++g, weights += kCols * kColumnBytes) {
      const char* q = weights + tile * kTileCols * 4;
      for (int64_t i = 0; i < kGroup / 4; ++i, q += kCols * 4) {
        _mm512_store_si512(out.weights[g] + i * 64, _mm512_xor_si512(_mm512_loadu_si512(q), sign));
      }
      const char* scales = weights + kCols * kGroup + tile * kTileCols * 2;
      Vec16::Store(out.scales[g], Vec16::LoadBf16(reinterpret_cast<const uint16_t*>(scales)));
    }
  }
  static STRATA_INLINE __m512i Corrected(__m512i sums, const int32_t* /*zeros*/,
                                         const int32_t* /*offset*/) {
    return sums;
  }
};

struct Int4Products : Int4Format {
  using Format = Int4Format;

  static STRATA_INLINE __m512i Codes(const char* codes) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
  }
  // 16 q - 128, and zero points that are as much less, in 16 bits.
  static void Unpack(const char* head, const char* weights, int64_t tile, int64_t groups,
                     Unpacked<Format>& out) {
    const __m512 column_scales =
        Vec16::Load(reinterpret_cast<const float*>(head) + tile * kTileCols);
    const __m512i nibble = _mm512_set1_epi8(-16);
    const __m512i sign = _mm512_set1_epi8(-128);
    for (int64_t g = 0; g < groups; ++g, weights += kCols * kColumnBytes) {
      const char* q = weights + tile * kTileCols * 4;
      for (int64_t i = 0; i < kGroup / 4; i += 2, q += kCols * 4) {
        const __m512i high = _mm512_loadu_si512(q);
        const __m512i low = _mm512_slli_epi16(high, 4);
        char* to = out.weights[g] + i * 64;
        _mm512_store_si512(to, _mm512_xor_si512(_mm512_and_si512(low, nibble), sign));
        _mm512_store_si512(to + 64, _mm512_xor_si512(_mm512_and_si512(high, nibble), sign));
      }
      const char* codes = weights + kCols * kGroup / 2 + tile * kTileCols;
      Vec16::Store(out.scales[g], Vec16::Mul(_mm512_cvtepi32_ps(Codes(codes)), column_scales));
      const __m512i zeros = _mm512_sub_epi32(Codes(codes + kCols), _mm512_set1_epi32(128));
      _mm512_store_si512(out.zeros[g], _mm512_and_si512(zeros, _mm512_set1_epi32(0xffff)));
    }
  }
  static STRATA_INLINE __m512i Corrected(__m512i sums, const int32_t* zeros,
                                         const int32_t* offset) {
    return _mm512_dpwssd_epi32(sums, _mm512_load_si512(zeros), _mm512_set1_epi32(*offset));
  }
};

// A chunk of 16 rows: what their groups have beside integers. Side by side,
// since single loads cost as much as tiles' here.
template <class Format>
struct RowFactors {
  alignas(64) float scales[Unpacked<Format>::kGroups][kTileRows];
  alignas(64) int32_t offsets[Unpacked<Format>::kGroups][kTileRows];
};

// Up to 16 rows times a chunk of a column tile.
struct TileBlock {
  const char* a;     // the first row, from the chunk's first element
  int64_t a_stride;  // bytes from one row to the next
  float* sums;       // [16][kCols], from the column tile on; unless it is the first chunk
  bool is_first;
};

// A share of what is to be fetched for the next chunk. The count is a constant:
// a branch that is mispredicted stalls the tiles.
template <int kLines>
struct FetchForNext {
  const char* at;

  STRATA_INLINE void Next() {
#pragma GCC unroll 64
    for (int i = 0; i < kLines; ++i) __builtin_prefetch(at + 64 * i, 0, 2);
    at += 64 * kLines;
  }
};

// The sums of group g, in a tile of their own, to `sums`.
#define STRATA_TILE_PRODUCT(tile, operand_tile, weight_tile)         \
  _tile_zero(tile);                                                  \
  _tile_stream_loadd(operand_tile, b.a + g * P::kGroup, b.a_stride); \
  _tile_loadd(weight_tile, w.weights[g], 64);                        \
  _tile_dpbssd(tile, operand_tile, weight_tile);                     \
  _tile_stored(tile, sums, 64)
template <class P, int kTile>
STRATA_INLINE void Multiply(const TileBlock& b, const Unpacked<typename P::Format>& w, int64_t g,
                            int32_t* sums) {
  if constexpr (kTile == 0) {
    STRATA_TILE_PRODUCT(0, 4, 6);
  } else if constexpr (kTile == 1) {
    STRATA_TILE_PRODUCT(1, 5, 7);
  } else if constexpr (kTile == 2) {
    STRATA_TILE_PRODUCT(2, 4, 6);
  } else {
    STRATA_TILE_PRODUCT(3, 5, 7);
  }
}
#undef STRATA_TILE_PRODUCT

// acc += group g's sums, scaled.
template <class P>
STRATA_INLINE void AddGroup(const Unpacked<typename P::Format>& w,
                            const RowFactors<typename P::Format>& x, int64_t g, const int32_t* sums,
                            __m512 (&acc)[kTileRows]) {
  const __m512 scale = Vec16::Load(w.scales[g]);
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
    const __m512i sum =
        P::Corrected(_mm512_load_si512(sums + r * kTileCols), w.zeros[g], &x.offsets[g][r]);
    const __m512 scaled = Vec16::Mul(_mm512_cvtepi32_ps(sum), Vec16::Set1(x.scales[g][r]));
    acc[r] = Vec16::Fma(scaled, scale, acc[r]);
    asm("" : "+v"(acc[r]));
  }
}

// Tiles work on two groups while vectors add up the two before.
template <class P, class Fetch>
__attribute__((noinline)) void RunBlock(const TileBlock& b, const Unpacked<typename P::Format>& w,
                                        const RowFactors<typename P::Format>& x, int64_t num_groups,
                                        Fetch fetch) {
  alignas(64) int32_t sums[kSumTiles][kTileRows * kTileCols];
  __m512 acc[kTileRows];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
    acc[r] = b.is_first ? Vec16::Set1(0.0f) : Vec16::Load(b.sums + r * kCols);
  }
  FinishWrites();
  const int64_t end = num_groups / kSumTiles * kSumTiles;
  if (end != 0) {
    Multiply<P, 0>(b, w, 0, sums[0]);
    Multiply<P, 1>(b, w, 1, sums[1]);
    for (int64_t g = 0;; g += kSumTiles) {
      fetch.Next();
      Multiply<P, 2>(b, w, g + 2, sums[2]);
      AddGroup<P>(w, x, g, sums[0], acc);
      Multiply<P, 3>(b, w, g + 3, sums[3]);
      AddGroup<P>(w, x, g + 1, sums[1], acc);
      if (g + kSumTiles == end) break;
      Multiply<P, 0>(b, w, g + 4, sums[0]);
      AddGroup<P>(w, x, g + 2, sums[2], acc);
      Multiply<P, 1>(b, w, g + 5, sums[1]);
      AddGroup<P>(w, x, g + 3, sums[3], acc);
    }
    AddGroup<P>(w, x, end - 2, sums[2], acc);
    AddGroup<P>(w, x, end - 1, sums[3], acc);
  }
  for (int64_t g = end; g < num_groups; ++g) {
    Multiply<P, 0>(b, w, g, sums[0]);
    AddGroup<P>(w, x, g, sums[0], acc);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) Vec16::Store(b.sums + r * kCols, acc[r]);
}

template <class P, class Epilogue>
struct Product {
  using Out = typename Epilogue::Out;
  using Format = typename P::Format;

  const MatMulTask& t;
  const int64_t a_stride = QuantizedRowBytes<Format>(t.k);

  // Rows [first, first + rows), at most kMostRows.
  void RunRows(int64_t first, int64_t rows) const {
    // Of a panel's chunk, all of which the blocks together fetch, in four parts of it.
    constexpr int kLines = static_cast<int>(kSumTiles * kCols * P::kColumnBytes / 64 / 4);
    if (rows > 8 * kTileRows) return RunGroups<(kLines + 15) / 16>(first, rows);
    if (rows > 4 * kTileRows) return RunGroups<(kLines + 7) / 8>(first, rows);
    if (rows > 2 * kTileRows) return RunGroups<(kLines + 3) / 4>(first, rows);
    if (rows > kTileRows) return RunGroups<(kLines + 1) / 2>(first, rows);
    RunGroups<kLines>(first, rows);
  }

 private:
  const char* Head(int64_t panel) const {
    return static_cast<const char*>(t.panels) + panel * PanelBytes<Format>(t.k, kCols);
  }
  const char* Weights(int64_t panel, int64_t start) const {
    return Head(panel) + kCols * (P::kHeadBytes + start / P::kGroup * P::kColumnBytes);
  }
  // What is needed after a panel's chunk in a group of panels [begin, end).
  const char* NextChunk(int64_t begin, int64_t end, int64_t panel, int64_t start) const {
    if (panel + 1 < end) return Weights(panel + 1, start);
    const int64_t next = start + kChunk;
    return next < t.k ? Weights(begin, next) : Weights(end, 0);
  }

  // A chunk of K of the operands stays in L2 while the panels of a group pass by it.
  template <int kLines>
  void RunGroups(int64_t first, int64_t rows) const {
    alignas(64) float sums[kGroupPanels * kMostBlocks * kTileRows * kCols];
    RowFactors<Format> factors[kMostBlocks];
    for (int64_t p = t.first_panel; p < t.end_panel; p += kGroupPanels) {
      const int64_t end = p + kGroupPanels < t.end_panel ? p + kGroupPanels : t.end_panel;
      for (int64_t start = 0; start < t.k; start += kChunk) {
        GatherFactors(first, rows, start, factors);
        for (int64_t panel = p; panel < end; ++panel) {
          RunChunk<kLines>(first, rows, start, panel, NextChunk(p, end, panel, start), factors,
                           sums + (panel - p) * kMostBlocks * kTileRows * kCols);
        }
      }
    }
  }

  int64_t GroupsFrom(int64_t start) const {
    return (t.k - start < kChunk ? t.k - start : kChunk) / P::kGroup;
  }
  const char* Operands(int64_t row) const { return static_cast<const char*>(t.a) + row * a_stride; }
  // Row of the first of block b's. The last of several blocks takes whole 16 rows, too: some that
  // the one before it has.
  static int64_t FirstOf(int64_t b, int64_t first, int64_t rows) {
    return first + ((b + 1) * kTileRows <= rows || b == 0 ? b * kTileRows : rows - kTileRows);
  }

  void GatherFactors(int64_t first, int64_t rows, int64_t start,
                     RowFactors<Format>* factors) const {
    const int64_t groups = GroupsFrom(start);
    const int64_t block_rows = rows < kTileRows ? rows : kTileRows;
    for (int64_t b = 0; b < CeilDiv(rows, kTileRows); ++b) {
      for (int64_t r = 0; r < kTileRows; ++r) {
        // Of rows that are not there, the last one's: what comes of them is not used.
        const char* row = Operands(FirstOf(b, first, rows) + (r < block_rows ? r : rows - 1));
        const auto* from = reinterpret_cast<const OperandGroup*>(row + t.k) + start / P::kGroup;
        for (int64_t g = 0; g < groups; ++g) {
          factors[b].scales[g][r] = from[g].scale;
          factors[b].offsets[g][r] = from[g].offset;
        }
      }
    }
  }

  // sums: [blocks][16][kCols]
  template <int kLines>
  void RunChunk(int64_t first, int64_t rows, int64_t start, int64_t panel, const char* next,
                const RowFactors<Format>* factors, float* sums) const {
    const int64_t groups = GroupsFrom(start);
    const int64_t blocks = CeilDiv(rows, kTileRows);
    FetchForNext<kLines> fetch{next};
    Unpacked<Format> unpacked;
    for (int64_t tile = 0; tile < kCols / kTileCols; ++tile) {
      P::Unpack(Head(panel), Weights(panel, start), tile, groups, unpacked);
      for (int64_t b = 0; b < blocks; ++b) {
        RunBlock<P>({Operands(FirstOf(b, first, rows)) + start, a_stride,
                     sums + b * kTileRows * kCols + tile * kTileCols, start == 0},
                    unpacked, factors[b], groups, fetch);
        fetch.at += 64 * kLines * (groups / kSumTiles);
      }
    }
    if (start + groups * P::kGroup < t.k) return;
    for (int64_t b = 0; b < blocks; ++b, sums += kTileRows * kCols) {
      const int64_t row = first + b * kTileRows;
      const int64_t done = row - FirstOf(b, first, rows);
      const int64_t left = first + rows - row;
      Finish(sums + done * kCols, row, left < kTileRows ? left : kTileRows, panel);
    }
  }

  // Writes [rows][kCols] sums as rows of the product from `row` on.
  void Finish(const float* sums, int64_t row, int64_t rows, int64_t panel) const {
    const int64_t col = panel * Epilogue::kOutCols;
    const int64_t valid = t.n - col < Epilogue::kOutCols ? t.n - col : Epilogue::kOutCols;
    for (int64_t r = 0; r < rows; ++r, sums += kCols) {
      const __m512 row_sums[Panel::kVectors] = {Vec16::Load(sums), Vec16::Load(sums + 16),
                                                Vec16::Load(sums + 32), Vec16::Load(sums + 48)};
      Epilogue::Row(row_sums, t.add, valid, static_cast<Out*>(t.out) + (row + r) * t.n + col);
    }
  }
};

template <class P, template <class, class> class Epilogue>
void Run(const MatMulTask& t) {
  const Product<P, Epilogue<Vec16, Panel>> product{t};
  const TileScope tiles(kSumTiles, kOperandTiles, t.rows < kTileRows ? t.rows : kTileRows,
                        P::kGroup);
  // Even ranges, so that each of several has more rows than a tile.
  const int64_t ranges = CeilDiv(t.rows, kMostRows);
  for (int64_t i = 0; i < ranges; ++i) {
    const int64_t first = t.rows * i / ranges;
    product.RunRows(first, t.rows * (i + 1) / ranges - first);
  }
}

// The table that few rows are left to.
const KernelTable& Int8FewRows() { return *Avx512VnniKernels(WeightFormat::kInt8); }
const KernelTable& Int4FewRows() { return *Avx512VnniKernels(WeightFormat::kInt4); }
const KernelTable& UnstagedInt4FewRows() { return *Avx512VnniUnstagedInt4Kernels(); }

template <class P, const KernelTable& (*kFew)()>
void MatMul(const MatMulTask& t) {
  if (t.rows <= kFewRows) return kFew().mat_mul(t);
  Run<P, StoreEpilogue>(t);
}
template <class P, const KernelTable& (*kFew)()>
void GatedMatMul(const MatMulTask& t) {
  if (t.rows <= kFewRows) return kFew().gated_mat_mul(t);
  Run<P, GatedEpilogue>(t);
}

template <class P, const KernelTable& (*kFew)()>
const KernelTable* Table() {
  static const KernelTable table = [] {
    KernelTable same = kFew();
    same.name = "amx";
    same.mat_mul = &MatMul<P, kFew>;
    same.gated_mat_mul = &GatedMatMul<P, kFew>;
    return same;
  }();
  return &table;
}

double Int8Ops(int64_t iterations, float* sink) {
  const TileScope tiles(kSumTiles, kOperandTiles, kTileRows);
  alignas(64) int32_t values[kTileRows * kTileCols] = {static_cast<int32_t>(*sink)};
  FinishWrites();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, values, 64);
  _tile_loadd(6, values, 64);
  for (int64_t i = 0; i < iterations; ++i) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 6);
    _tile_dpbssd(2, 4, 6);
    _tile_dpbssd(3, 4, 6);
  }
  _tile_stored(3, values, 64);
  *sink = static_cast<float>(values[0]);
  return static_cast<double>(iterations) * 4 * kTileRows * kTileCols * 64 * 2;
}

constexpr ProbeTable kProbes = {nullptr, nullptr, &Int8Ops};

}  // namespace

const KernelTable* AmxInt8Kernels(const KernelTable* few_rows) {
  if (few_rows == &Int8FewRows()) return Table<Int8Products, Int8FewRows>();
  return few_rows == &Int4FewRows() ? Table<Int4Products, Int4FewRows>()
                                    : Table<Int4Products, UnstagedInt4FewRows>();
}
const ProbeTable* AmxInt8Probes() { return &kProbes; }

}  // namespace strata::kernels
