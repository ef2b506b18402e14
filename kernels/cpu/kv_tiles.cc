#include "kernels/cpu/kv_tiles.h"

#include "kernels/cpu/cpu_memory.h"
#include "kernels/cpu/kernel_table.h"

namespace strata::kernels {

static_assert(kTileTokens == kKvBlockTokens);

KvTiles::KvTiles(const KvCacheShape& shape, DType dtype)
    : shape_(shape),
      tile_bytes_(int64_t{2} * kKvBlockTokens * shape.head_dim *
                  static_cast<int64_t>(SizeOf(dtype))),
      data_(AllocateHost(static_cast<size_t>(tile_bytes_) * shape.num_layers * shape.num_blocks *
                         shape.num_kv_heads)) {}

}  // namespace strata::kernels
