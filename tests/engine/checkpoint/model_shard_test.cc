// How a model is divided over ranks: every weight is held by exactly one rank, but for keys and
// values that several must share.

#include "engine/checkpoint/model_shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "engine/checkpoint/model_tensors.h"

namespace strata {
namespace {

using ::testing::HasSubstr;

ModelConfig Config(int num_heads, int num_kv_heads, int intermediate_size, int vocab_size) {
  ModelConfig config;
  config.hidden_size = 96;
  config.head_dim = 16;
  config.num_layers = 1;
  config.num_heads = num_heads;
  config.num_kv_heads = num_kv_heads;
  config.intermediate_size = intermediate_size;
  config.vocab_size = vocab_size;
  return config;
}

const std::vector<ModelConfig> kConfigs = {Config(4, 2, 160, 1505), Config(8, 8, 64 * 3, 33),
                                           Config(8, 1, 16 * 9, 1000), Config(64, 8, 28672, 32000),
                                           Config(6, 3, 96, 7)};
constexpr int kMostRanks = 64;

TEST(ModelShard, OfOneRankIsTheWholeModel) {
  for (const ModelConfig& config : kConfigs) {
    const ModelShard shard = ShardOf(config, 0, 1).value();
    const ModelShard whole = WholeModel(config);
    EXPECT_EQ(shard.heads, whole.heads);
    EXPECT_EQ(shard.kv_heads, whole.kv_heads);
    EXPECT_EQ(shard.inner, whole.inner);
    EXPECT_EQ(shard.tokens, whole.tokens);
    EXPECT_EQ(whole.tokens, (IndexRange{0, config.vocab_size}));
  }
}

// How many ranks hold each element of each tensor.
std::map<std::string, std::vector<int>> Holders(const ModelConfig& config, int size) {
  std::map<std::string, std::vector<int>> holders;
  std::map<std::string, int64_t> num_cols;
  for (const TensorSpec& tensor : ModelTensors(config)) {
    if (tensor.shape.size() < 2) continue;
    holders[tensor.name].assign(tensor.shape[0] * tensor.shape[1], 0);
    num_cols[tensor.name] = tensor.shape[1];
  }
  for (int rank = 0; rank < size; ++rank) {
    const ModelShard shard = ShardOf(config, rank, size).value();
    const LayerMatrices layer = MatricesOfLayer(config, shard, 0);
    for (const MatrixSpec& matrix :
         {layer.qkv, layer.out, layer.gate_up, layer.down, HeadMatrix(config, shard)}) {
      int64_t rows = 0;
      for (const TensorPart& part : matrix.parts) {
        EXPECT_EQ(part.cols.size(), matrix.shape.cols) << matrix.name;
        EXPECT_EQ(part.cols.size() % 16, 0) << matrix.name;
        rows += part.rows.size();
        for (int64_t row = part.rows.begin; row < part.rows.end; ++row) {
          for (int64_t col = part.cols.begin; col < part.cols.end; ++col) {
            ++holders.at(part.tensor).at(row * num_cols[part.tensor] + col);
          }
        }
      }
      EXPECT_EQ(rows, matrix.shape.rows * (matrix.shape.gated ? 2 : 1)) << matrix.name;
    }
  }
  return holders;
}

TEST(ModelShard, EachWeightIsOneRanks) {
  for (ModelConfig config : kConfigs) {
    if (config.hidden_size * config.intermediate_size > 1 << 20) continue;  // slow, and no other
    for (int size = 1; size <= kMostRanks; ++size) {
      if (!ShardOf(config, 0, size).ok()) continue;
      const int copies = std::max(1, size / config.num_kv_heads);  // of keys and values
      for (const auto& [tensor, holders] : Holders(config, size)) {
        if (tensor == kEmbeddingTensor) continue;  // by ModelShard::tokens, as the head
        const bool is_kv = tensor.find("k_proj") != std::string::npos ||
                           tensor.find("v_proj") != std::string::npos;
        EXPECT_THAT(holders, ::testing::Each(is_kv ? copies : 1))
            << tensor << " over " << size << " ranks";
      }
    }
  }
}

TEST(ModelShard, HeadsComeWithTheirKeysAndValues) {
  for (const ModelConfig& config : kConfigs) {
    const int group = config.num_heads / config.num_kv_heads;
    for (int size = 1; size <= kMostRanks; ++size) {
      for (int rank = 0; rank < size; ++rank) {
        const auto shard = ShardOf(config, rank, size);
        if (!shard.ok()) continue;
        // As attention pairs them: local head h with local KV head h / (heads / kv heads).
        const int64_t local_group = shard->heads.size() / shard->kv_heads.size();
        EXPECT_EQ(shard->heads.size() % shard->kv_heads.size(), 0);
        for (int64_t h = 0; h < shard->heads.size(); ++h) {
          EXPECT_EQ((shard->heads.begin + h) / group, shard->kv_heads.begin + h / local_group);
        }
      }
    }
  }
}

TEST(ModelShard, QuantisedGroupsAreCutAsWithoutShardsWhereTheMlpAllows) {
  const auto begins = [](const ModelConfig& config, int size) {
    std::vector<int64_t> result;
    for (int rank = 0; rank < size; ++rank) {
      result.push_back(ShardOf(config, rank, size).value().inner.begin);
    }
    return result;
  };
  EXPECT_EQ(begins(Config(8, 8, 64 * 3, 33), 2), (std::vector<int64_t>{0, 64}));
  EXPECT_EQ(begins(Config(8, 8, 64 * 3, 33), 4), (std::vector<int64_t>{0, 48, 96, 144}));
  EXPECT_EQ(begins(Config(4, 2, 160, 1505), 4), (std::vector<int64_t>{0, 32, 80, 112}));
}

TEST(ModelShard, ImpossibleDegreesAreRefusedWithThePossibleOnes) {
  const auto error = [](const ModelConfig& config, int size) {
    return std::string(ShardOf(config, 0, size).status().message());
  };
  EXPECT_THAT(error(Config(64, 8, 28672, 32000), 3),
              HasSubstr("over 3 ranks: it has 64 heads, 8 heads of keys and values and an MLP of "
                        "28672; it can be over 1, 2, 4, 8, 16, 32, 64"));
  EXPECT_THAT(error(Config(6, 3, 96, 7), 2), HasSubstr("it can be over 1, 3, 6"));
  EXPECT_THAT(error(Config(8, 8, 32, 33), 4), HasSubstr("it can be over 1, 2"));
  EXPECT_THAT(error(Config(8, 8, 640, 5), 8), HasSubstr("it can be over 1, 2, 4"));
}

}  // namespace
}  // namespace strata
