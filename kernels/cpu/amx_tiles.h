// What the AMX translation units share: a thread's tile registers. Rules of
// vector_math.h apply.
//
// All kernels keep sums, of up to 16 rows and 16 columns, in the first of the
// eight tiles, then operands, then weights.

#ifndef STRATA_KERNELS_CPU_AMX_TILES_H_
#define STRATA_KERNELS_CPU_AMX_TILES_H_

#include <immintrin.h>
#include <stdint.h>

#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileRowBytes = 64;

constexpr int64_t kCols = 64;       // of a panel, which is AVX-512's: four tiles side by side
constexpr int64_t kMostRows = 256;  // whose operands for a chunk of K stay in L2
constexpr int64_t kMostBlocks = kMostRows / kTileRows;
constexpr int64_t kGroupPanels = 8;  // that pass by a chunk of operands

// For the epilogues.
template <class Out>
struct TilePanel {
  using GatedOut = Out;
  static constexpr int kVectors = 4;
  static constexpr int kCols = 64;
};

// gcc's tile instructions do not say which memory they read: what has been
// written there must be written before this, and is.
STRATA_INLINE void FinishWrites() { asm volatile("" ::: "memory"); }

// Configures this thread's tiles: `num_sums` of them, `num_operands` and the
// rest weights, for products of `rows` rows and `depth` bytes of K. Given back
// in the end, since a thread with tiles in use is dearer to switch.
class TileScope {
 public:
  TileScope(int num_sums, int num_operands, int64_t rows, int64_t depth = kTileRowBytes) {
    constexpr int kTiles = 8;
    struct {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    static_assert(sizeof(config) == 64);
    for (int i = 0; i < kTiles; ++i) {
      const bool is_sum = i < num_sums;
      const bool is_operand = !is_sum && i < num_sums + num_operands;
      config.row_bytes[i] = static_cast<uint16_t>(is_operand ? depth : kTileRowBytes);
      config.rows[i] = static_cast<uint8_t>(is_sum || is_operand ? rows : depth / 4);
    }
    const void* at = &config;
    asm volatile("" : "+r"(at)::"memory");  // gcc takes a few bytes of it for all that is read
    _tile_loadconfig(at);
  }
  ~TileScope() { _tile_release(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

}  // namespace
}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_AMX_TILES_H_
