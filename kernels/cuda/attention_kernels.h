// Launchers of RoPE with KV append, and of paged attention. All run in `stream` and do not wait.
//
// Attention walks a sequence's positions in KV blocks of 16, by online softmax; after
// kPartition positions the result so far is folded into the row's and begun afresh. So
// partitions may as well run side by side and be folded afterwards, in order: a row's bits are
// the same, whichever way the host chooses by the size of the batch.

#ifndef STRATA_KERNELS_CUDA_ATTENTION_KERNELS_H_
#define STRATA_KERNELS_CUDA_ATTENTION_KERNELS_H_

#include <driver_types.h>

#include <cstdint>

#include "kernels/backend.h"

namespace strata::kernels::cuda {

constexpr int kPartition = 128;  // positions

// One layer of a KV cache, keys and values each
// [num_blocks, num_kv_heads, kKvBlockTokens, head_dim]
struct KvLayer {
  void* keys = nullptr;
  void* values = nullptr;
  DType dtype = DType::kF32;
};

// Where the batch's rows stand, in device memory: as RowBatch.
struct DeviceBatch {
  const int32_t* token_ids = nullptr;
  const int32_t* positions = nullptr;
  const int32_t* sequences = nullptr;
  const int32_t* block_tables = nullptr;
  int max_blocks_per_sequence = 0;
};

// Rows of one sequence that stand side by side in the batch and are computed together.
struct RowTile {
  int32_t first_row = 0;
  int32_t num_rows = 0;
};

// At most so many rows may form a tile.
int MaxTileRows(const AttentionShape& shape);

// As Backend::RopeAndAppendKv. qkv f32 [rows, ..]
void AppendKv(cudaStream_t stream, float* qkv, int64_t rows, const AttentionShape& shape,
              const RopeTable& rope, const DeviceBatch& batch, const KvLayer& kv);

struct AttentionTask {
  const float* qkv = nullptr;  // [rows, (num_heads + 2 num_kv_heads) * head_dim]
  int64_t rows = 0;            // those of a tile beyond it are not computed
  AttentionShape shape;
  DeviceBatch batch;
  KvLayer kv;
  const RowTile* tiles = nullptr;
  int64_t num_tiles = 0;
  void* out = nullptr;  // [rows, num_heads * head_dim], of KV's type
  // Partitions run side by side if this is not null: [rows, num_heads, num_partitions,
  // PartialFloats(head_dim)]
  float* partials = nullptr;
  int num_partitions = 0;  // of the longest row
};
constexpr int64_t PartialFloats(int head_dim) { return head_dim + 2; }

void Attend(cudaStream_t stream, const AttentionTask& task);

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_ATTENTION_KERNELS_H_
