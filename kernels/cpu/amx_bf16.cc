// AMX: bf16 weights and operands.
//
// The tile product is another function than AVX-512's: for each 32 elements of
// K it sums the even and the odd products apart, adds the two sums, and then
// that to the old one. So all numbers of rows go by tiles; a product of one row
// takes as long as one of 16, which still is less than reading the weights.
//
// Panels are the AVX-512 kernels': 32 elements of K times 64 columns are four
// tiles, side by side.

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/attention_kernel.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/mat_mul_kernel.h"
#include "kernels/cpu/rope_kernel.h"
#include "kernels/cpu/vec16.h"
#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

using Panel = TilePanel<uint16_t>;

// Tiles 0 to 3 are the sums of a panel's columns, 4 holds operands, 5 to 7 weights.
constexpr int kSumTiles = 4;
constexpr int kOperandTiles = 1;

constexpr int64_t kStep = 32;                          // elements of K of one product
constexpr int64_t kStepBytes = kStep * kCols * 2;      // of a panel
constexpr int64_t kChunk = 256;                        // of K: a panel's fill 32 KiB of L1
constexpr int64_t kSumsBytes = kTileRows * kCols * 4;  // of a block

// Up to 16 rows times a chunk of a panel.
struct TileBlock {
  const char* a;        // the first row, from the chunk's first element
  int64_t a_stride;     // bytes from one row to the next
  const char* weights;  // of the chunk
  int64_t count;        // elements of K, a multiple of 16
  float* sums;          // [16][kCols], unless it is the first chunk
  bool is_first;
};

// Fetches what will be needed later, step by step: see mat_mul_kernel.h. One
// block alone needs its own weights soon, ...
struct FetchOwn {
  const char* at;

  STRATA_INLINE void Next() {
#pragma GCC unroll 64
    for (int64_t i = 0; i < kStepBytes; i += 64) __builtin_prefetch(at + i, 0, 3);
    at += kStepBytes;
  }
};
// ... and one of several a share of the next chunk and the next block's sums.
// All counts are constants: a branch that is mispredicted stalls the tiles for
// longer than a product takes.
template <int kLines>  // of weights, each step
struct FetchForNext {
  const char* weights;
  const char* sums;

  STRATA_INLINE void Next() {
#pragma GCC unroll 32
    for (int i = 0; i < kLines; ++i) __builtin_prefetch(weights + 64 * i, 0, 2);
    weights += 64 * kLines;
    constexpr int64_t kSumsShare = kSumsBytes * kStep / kChunk;
#pragma GCC unroll 8
    for (int64_t i = 0; i < kSumsShare; i += 64) __builtin_prefetch(sums + i, 0, 3);
    sums += kSumsShare;
  }
};

STRATA_INLINE void Multiply(const char* weights) {
  constexpr int64_t kStride = kCols * 4;
  _tile_loadd(5, weights, kStride);
  _tile_dpbf16ps(0, 4, 5);
  _tile_loadd(6, weights + 64, kStride);
  _tile_dpbf16ps(1, 4, 6);
  _tile_loadd(7, weights + 128, kStride);
  _tile_dpbf16ps(2, 4, 7);
  _tile_loadd(5, weights + 192, kStride);
  _tile_dpbf16ps(3, 4, 5);
}

// The last 16 elements of K, as a step whose other half is zero.
__attribute__((noinline)) void MultiplyHalfStep(const char* a, int64_t a_stride, int64_t rows,
                                                const char* weights) {
  alignas(64) char operands[kTileRows * kTileRowBytes] = {};
  alignas(64) char padded[kStepBytes] = {};
  for (int64_t r = 0; r < rows; ++r) {
    memcpy(operands + r * kTileRowBytes, a + r * a_stride, kTileRowBytes / 2);
  }
  memcpy(padded, weights, kStepBytes / 2);
  FinishWrites();
  _tile_loadd(4, operands, kTileRowBytes);
  Multiply(padded);
}

// Rows of several blocks pass by L1, in which the weights are to stay.
template <bool kPassing, class Fetch>
STRATA_INLINE void MultiplyStep(const TileBlock& b, int64_t step, Fetch& fetch) {
  const char* a = b.a + step * kTileRowBytes;
  if constexpr (kPassing) {
    _tile_stream_loadd(4, a, b.a_stride);
  } else {
    _tile_loadd(4, a, b.a_stride);
  }
  fetch.Next();
  Multiply(b.weights + step * kStepBytes);
}

// Sums of `rows` rows, as many as the tiles have.
template <bool kPassing, class Fetch>
STRATA_INLINE void RunBlock(const TileBlock& b, int64_t rows, Fetch fetch) {
  constexpr int64_t kStride = kCols * 4;
  FinishWrites();
  if (b.is_first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, b.sums, kStride);
    _tile_loadd(1, b.sums + 16, kStride);
    _tile_loadd(2, b.sums + 32, kStride);
    _tile_loadd(3, b.sums + 48, kStride);
  }
  const int64_t steps = b.count / kStep;
  if (kPassing && b.count == kChunk) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < kChunk / kStep; ++i) MultiplyStep<kPassing>(b, i, fetch);
  } else {
    for (int64_t i = 0; i < steps; ++i) MultiplyStep<kPassing>(b, i, fetch);
    if (b.count % kStep != 0) {
      MultiplyHalfStep(b.a + steps * kTileRowBytes, b.a_stride, rows,
                       b.weights + steps * kStepBytes);
    }
  }
  _tile_stored(0, b.sums, kStride);
  _tile_stored(1, b.sums + 16, kStride);
  _tile_stored(2, b.sums + 32, kStride);
  _tile_stored(3, b.sums + 48, kStride);
}

template <class Epilogue>
struct Product {
  using Out = typename Epilogue::Out;

  const MatMulTask& t;
  const int64_t a_stride = t.k * 2;
  const int64_t panel_bytes = t.k * kCols * 2;

  const char* Operands(int64_t row) const { return static_cast<const char*>(t.a) + row * a_stride; }
  const char* Weights(int64_t panel) const {
    return static_cast<const char*>(t.panels) + panel * panel_bytes;
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

  // All rows, if they fit into a tile.
  void RunFewRows() const {
    const TileScope tiles(kSumTiles, kOperandTiles, t.rows);
    alignas(64) float sums[kTileRows * kCols];
    for (int64_t p = t.first_panel; p < t.end_panel; ++p) {
      const char* weights = Weights(p);
      RunBlock<false>({Operands(0), a_stride, weights, t.k, sums, true}, t.rows,
                      FetchOwn{weights + kNearBytes});
      Finish(sums, 0, t.rows, p);
    }
  }

  // More rows than fit into a tile: [first, first + rows), at most kMostRows.
  void RunManyRows(int64_t first, int64_t rows) const {
    // The blocks together fetch a chunk.
    constexpr int64_t kLines = kChunk * kCols * 2 / 64 / (kChunk / kStep);  // a step, if alone
    static_assert(kLines == 64 && kMostBlocks == 16);
    if (rows > 8 * kTileRows) return RunGroups<kLines / 16>(first, rows);
    if (rows > 4 * kTileRows) return RunGroups<kLines / 8>(first, rows);
    if (rows > 2 * kTileRows) return RunGroups<kLines / 4>(first, rows);
    RunGroups<kLines / 2>(first, rows);
  }

 private:
  // A chunk of K of the operands stays in L2 while the panels of a group pass by it.
  template <int kLines>
  void RunGroups(int64_t first, int64_t rows) const {
    alignas(64) float sums[kGroupPanels * kMostBlocks * kTileRows * kCols];
    for (int64_t p = t.first_panel; p < t.end_panel; p += kGroupPanels) {
      const int64_t end = p + kGroupPanels < t.end_panel ? p + kGroupPanels : t.end_panel;
      for (int64_t start = 0; start < t.k; start += kChunk) {
        for (int64_t panel = p; panel < end; ++panel) {
          RunChunk<kLines>(first, rows, start, panel, NextChunk(p, end, panel, start),
                           sums + (panel - p) * kMostBlocks * kTileRows * kCols);
        }
      }
    }
  }

  // What is needed after a panel's chunk in a group of panels [begin, end).
  const char* NextChunk(int64_t begin, int64_t end, int64_t panel, int64_t start) const {
    if (panel + 1 < end) return Weights(panel + 1) + start * kCols * 2;
    const int64_t next = start + kChunk;
    return next < t.k ? Weights(begin) + next * kCols * 2 : Weights(end);
  }

  // sums: [blocks][16][kCols]
  template <int kLines>
  void RunChunk(int64_t first, int64_t rows, int64_t start, int64_t panel, const char* next,
                float* sums) const {
    const int64_t count = t.k - start < kChunk ? t.k - start : kChunk;
    const int64_t blocks = CeilDiv(rows, kTileRows);
    const char* weights = Weights(panel) + start * kCols * 2;
    for (int64_t b = 0; b < blocks; ++b, sums += kTileRows * kCols) {
      // The last block takes whole 16 rows, too: some that the one before it has.
      const int64_t row = first + (b + 1 < blocks ? b * kTileRows : rows - kTileRows);
      const FetchForNext<kLines> fetch{next + b * kLines * 64 * (kChunk / kStep),
                                       reinterpret_cast<const char*>(sums + kTileRows * kCols)};
      RunBlock<true>({Operands(row) + start * 2, a_stride, weights, count, sums, start == 0},
                     kTileRows, fetch);
      if (start + count < t.k) continue;
      const int64_t done = first + b * kTileRows - row;
      Finish(sums + done * kCols, row + done, kTileRows - done, panel);
    }
  }
};

template <template <class, class> class Epilogue>
void Run(const MatMulTask& t) {
  const Product<Epilogue<Vec16, Panel>> product{t};
  if (t.rows == 0) return;  // a tile has rows
  if (t.rows <= kTileRows) return product.RunFewRows();
  const TileScope tiles(kSumTiles, kOperandTiles, kTileRows);
  // Even ranges, so that each has more rows than a tile.
  const int64_t ranges = CeilDiv(t.rows, kMostRows);
  for (int64_t i = 0; i < ranges; ++i) {
    const int64_t first = t.rows * i / ranges;
    product.RunManyRows(first, t.rows * (i + 1) / ranges - first);
  }
}

constexpr KernelTable kTable = {
    "amx",
    WeightFormat::kBF16,
    /*bf16_operands=*/true,
    /*bf16_kv=*/true,
    kCols,
    &Run<StoreEpilogue>,
    &Run<GatedEpilogue>,
    &RmsNormRows<Vec16, uint16_t>,
    &Attend<Vec16, uint16_t, uint16_t>,
    &AttendPartition<Vec16, uint16_t>,
    &MergePartitions<Vec16, uint16_t>,
    &RopeAndAppendKv<Vec16, uint16_t>,
    /*quantize_rows=*/nullptr,
};

double Bf16Flops(int64_t iterations, float* sink) {
  const TileScope tiles(kSumTiles, kOperandTiles, kTileRows);
  alignas(64) float sums[kTileRows * 16] = {*sink};
  FinishWrites();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, sums, kTileRowBytes);
  _tile_loadd(5, sums, kTileRowBytes);
  for (int64_t i = 0; i < iterations; ++i) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_stored(3, sums, kTileRowBytes);
  *sink = sums[0];
  return static_cast<double>(iterations) * 4 * kTileRows * 16 * kStep * 2;
}

constexpr ProbeTable kProbes = {nullptr, &Bf16Flops, nullptr};

}  // namespace

const KernelTable* AmxBf16Kernels() { return &kTable; }
const ProbeTable* AmxBf16Probes() { return &kProbes; }

}  // namespace strata::kernels
