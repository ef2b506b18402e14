// What each rank of a tensor-parallel group holds of a model.

#ifndef STRATA_ENGINE_CHECKPOINT_MODEL_SHARD_H_
#define STRATA_ENGINE_CHECKPOINT_MODEL_SHARD_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"

namespace strata {

// Indices [begin, end).
struct IndexRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool Contains(int64_t index) const { return begin <= index && index < end; }
  // The same part of a range in which each index stands for `factor` of them.
  IndexRange operator*(int64_t factor) const { return {begin * factor, end * factor}; }
  bool operator==(const IndexRange&) const = default;
};

// A rank computes its heads' attention, its part of the MLP and its tokens' logits. Matrices that
// lead there are split by output features, those that lead back by input features (Megatron-LM,
// arXiv 1909.08053), so that the ranks' results add up twice a layer. Norms are everybody's.
struct ModelShard {
  int rank = 0;
  int size = 1;  // number of ranks
  IndexRange heads;
  // Of the heads. Where ranks exceed the model's KV heads, several ranks hold the same one.
  IndexRange kv_heads;
  IndexRange inner;   // of the MLP
  IndexRange tokens;  // of the vocabulary: rows of the embedding and of the head
};

// All of it.
ModelShard WholeModel(const ModelConfig& config);

// Heads are split evenly; the MLP in multiples of 64 where there are enough of them, else of 16, so
// that groups of quantised weights are cut as without shards; tokens anyhow.
// Errors: INVALID_ARGUMENT if the model cannot be split over so many ranks, and over how many it
// can.
absl::StatusOr<ModelShard> ShardOf(const ModelConfig& config, int rank, int size);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_MODEL_SHARD_H_
