// What the AMX translation units share: a thread's tile registers. Rules of
// vector_math.h apply.
//
// All kernels use the eight tiles alike: 0 to 3 hold sums, a column tile of 16
// each, 4 holds operands of up to 16 rows, and 5 to 7 weights.

#ifndef STRATA_KERNELS_CPU_AMX_TILES_H_
#define STRATA_KERNELS_CPU_AMX_TILES_H_

#include <immintrin.h>
#include <stdint.h>

#include "kernels/cpu/vector_math.h"

namespace strata::kernels {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileRowBytes = 64;

// gcc's tile instructions do not say which memory they read: what has been
// written there must be written before this, and is.
STRATA_INLINE void FinishWrites() { asm volatile("" ::: "memory"); }

// Configures this thread's tiles, for sums and operands of `rows` rows. Given
// back in the end, since a thread with tiles in use is dearer to switch.
class TileScope {
 public:
  explicit TileScope(int64_t rows) {
    constexpr int kSums = 4;
    constexpr int kOperands = 1;
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
      config.row_bytes[i] = kTileRowBytes;
      config.rows[i] = static_cast<uint8_t>(i < kSums + kOperands ? rows : kTileRows);
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
