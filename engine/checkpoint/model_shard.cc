#include "engine/checkpoint/model_shard.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

namespace strata {
namespace {

constexpr int64_t kGroupUnit = 64;  // the longest group of quantised weights
constexpr int64_t kLeastUnit = 16;  // what products' input features are a multiple of

// The part of `count` units that falls to a rank: equal ones, but for one unit.
IndexRange PartOf(int64_t count, int rank, int size) {
  return {count * rank / size, count * (rank + 1) / size};
}

int64_t UnitOfInner(const ModelConfig& config, int size) {
  const bool in_groups =
      config.intermediate_size % kGroupUnit == 0 && config.intermediate_size / kGroupUnit >= size;
  return in_groups ? kGroupUnit : kLeastUnit;
}

bool CanSplit(const ModelConfig& config, int size) {
  return config.num_heads % size == 0 &&
         (config.num_kv_heads % size == 0 || size % config.num_kv_heads == 0) &&
         config.intermediate_size / kLeastUnit >= size && config.vocab_size >= size;
}

}  // namespace

ModelShard WholeModel(const ModelConfig& config) {
  return {0,
          1,
          {0, config.num_heads},
          {0, config.num_kv_heads},
          {0, config.intermediate_size},
          {0, config.vocab_size}};
}

absl::StatusOr<ModelShard> ShardOf(const ModelConfig& config, int rank, int size) {
  if (!CanSplit(config, size)) {
    std::vector<int> possible;
    for (int degree = 1; degree <= config.num_heads; ++degree) {
      if (CanSplit(config, degree)) possible.push_back(degree);
    }
    return absl::InvalidArgumentError(fmt::format(
        "the model cannot be split over {} ranks: it has {} heads, {} heads of keys and values and "
        "an MLP of {}; it can be over {}",
        size, config.num_heads, config.num_kv_heads, config.intermediate_size,
        fmt::join(possible, ", ")));
  }
  ModelShard shard = WholeModel(config);
  shard.rank = rank;
  shard.size = size;
  if (size == 1) return shard;
  shard.heads = PartOf(config.num_heads, rank, size);
  const int64_t group = config.num_heads / config.num_kv_heads;
  shard.kv_heads = {shard.heads.begin / group, (shard.heads.end - 1) / group + 1};
  const int64_t unit = UnitOfInner(config, size);
  shard.inner = PartOf(config.intermediate_size / unit, rank, size) * unit;
  shard.tokens = PartOf(config.vocab_size, rank, size);
  return shard;
}

}  // namespace strata
