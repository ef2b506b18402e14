#include "kernels/cpu/kv_tiles.h"

#include "kernels/cpu/cpu_memory.h"
#include "kernels/float_types.h"

namespace strata::kernels {

KvTiles::KvTiles(const KvCacheShape& shape, DType dtype)
    : shape_(shape),
      dtype_(dtype),
      tile_bytes_(int64_t{2} * kKvBlockTokens * shape.head_dim *
                  static_cast<int64_t>(SizeOf(dtype))),
      data_(AllocateHost(static_cast<size_t>(tile_bytes_) * shape.num_layers * shape.num_blocks *
                         shape.num_kv_heads)) {}

void KvTiles::Write(int layer, int block, int slot, int kv_head, const float* key,
                    const float* value) {
  const int64_t d = shape_.head_dim;
  char* tile = TileAt(layer, block, kv_head);
  if (dtype_ == DType::kBF16) {
    uint16_t* k = reinterpret_cast<uint16_t*>(tile);  // [d / 2][16][2]
    uint16_t* v = k + kKvBlockTokens * d;             // [16][d]
    for (int64_t i = 0; i < d; ++i) {
      k[(i / 2 * kKvBlockTokens + slot) * 2 + i % 2] = F32ToBf16(key[i]);
      v[slot * d + i] = F32ToBf16(value[i]);
    }
    return;
  }
  float* k = reinterpret_cast<float*>(tile);  // [d][16]
  float* v = k + kKvBlockTokens * d;          // [16][d]
  for (int64_t i = 0; i < d; ++i) {
    k[i * kKvBlockTokens + slot] = key[i];
    v[slot * d + i] = value[i];
  }
}

}  // namespace strata::kernels
