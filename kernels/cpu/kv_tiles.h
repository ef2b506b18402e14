// The CPU's KV cache: per (layer, block, KV head) one tile of keys and values
// in the weight type, laid out as AttentionTask describes.

#ifndef STRATA_KERNELS_CPU_KV_TILES_H_
#define STRATA_KERNELS_CPU_KV_TILES_H_

#include <cstdint>

#include "kernels/backend.h"

namespace strata::kernels {

class KvTiles : public KvCache {
 public:
  KvTiles(const KvCacheShape& shape, DType dtype);

  size_t size_bytes() const override { return data_.size_bytes(); }

  // Bytes from a block's tiles to the next block's.
  int64_t block_stride() const { return shape_.num_kv_heads * tile_bytes_; }
  // The tile of block 0 of a layer and KV head.
  const char* Tile(int layer, int kv_head) const { return TileAt(layer, 0, kv_head); }
  char* Tile(int layer, int block, int kv_head) { return TileAt(layer, block, kv_head); }

 private:
  char* TileAt(int64_t layer, int64_t block, int64_t kv_head) const {
    return static_cast<char*>(data_.data()) +
           ((layer * shape_.num_blocks + block) * shape_.num_kv_heads + kv_head) * tile_bytes_;
  }

  // Constant after construction.
  KvCacheShape shape_;
  int64_t tile_bytes_;
  Buffer data_;
};

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_KV_TILES_H_
