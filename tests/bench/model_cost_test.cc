#include "bench/model_cost.h"

#include <gtest/gtest.h>

namespace strata::bench {
namespace {

// 2 layers x 8 x (16 + 8 + 48) = 1152 parameters in layers, 80 in the head.
ModelConfig SmallConfig() {
  ModelConfig config;
  config.vocab_size = 10;
  config.hidden_size = 8;
  config.intermediate_size = 16;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 4;
  return config;
}

constexpr double kLayerParams = 1152;
constexpr double kHeadParams = 80;
constexpr double kParams = kLayerParams + kHeadParams;
constexpr double kKvBytes = 32;  // per token: 2 layers x 2 x 4 x 2 bytes

ModelCost SmallCost() { return {SmallConfig(), 2.0, kKvBytes}; }

TEST(ModelCost, WeightBytesAreThoseOfTheMatrices) {
  EXPECT_DOUBLE_EQ(SmallCost().weight_bytes(), 2 * kParams);
}

TEST(ModelCost, OneSequenceIsBoundByReading) {
  const Limit limit = SmallCost().Decode(1, 0, {1.0, 1000.0});
  EXPECT_DOUBLE_EQ(limit.tokens_per_second, 1e9 / (2 * kParams));
  EXPECT_STREQ(limit.bound, "read");
}

TEST(ModelCost, ManySequencesAreBoundByDotProducts) {
  const MachineRates rates{1.0, 8.0};  // 8 sequences per read of the weights
  EXPECT_STREQ(SmallCost().Decode(7, 0, rates).bound, "read");
  const Limit limit = SmallCost().Decode(9, 0, rates);
  EXPECT_STREQ(limit.bound, "dot");
  EXPECT_DOUBLE_EQ(limit.tokens_per_second, 8e9 / (2 * kParams));
}

TEST(ModelCost, ContextAddsItsKeysAndValues) {
  const MachineRates rates{1.0, 1e6};
  EXPECT_DOUBLE_EQ(SmallCost().Decode(1, 100, rates).tokens_per_second,
                   1e9 / (2 * kParams + 100 * kKvBytes));
  EXPECT_DOUBLE_EQ(SmallCost().Decode(4, 100, rates).tokens_per_second,
                   4e9 / (2 * kParams + 400 * kKvBytes));
}

TEST(ModelCost, PrefillPassesTheHeadOnce) {
  const Limit limit = SmallCost().Prefill(64, {1000.0, 1.0});
  EXPECT_STREQ(limit.bound, "dot");
  EXPECT_DOUBLE_EQ(limit.tokens_per_second, 64 * 1e9 / (2 * (64 * kLayerParams + kHeadParams)));
}

}  // namespace
}  // namespace strata::bench
