#include "engine/planning/roofline.h"

#include <gtest/gtest.h>

namespace strata {
namespace {

using kernels::WeightFormat;

// A layer has 8 x (16 + 8 + 48) = 576 parameters, the head 80; a position's KV in one layer takes
// 2 x 4 x 2 = 16 bytes, a pair of query and key 4 x 2 x 4 = 32 operations.
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

// Reaches 100 bytes and 1000 operations a second.
Hardware SmallHardware() {
  Hardware hardware;
  hardware.num_devices = 4;
  hardware.memory_bytes = 10000;
  hardware.read_bytes_s = 200;
  hardware.read_efficiency = 0.5;
  hardware.flop_s = 2000;
  hardware.int8_flop_s = 4000;
  hardware.flop_efficiency = 0.5;
  return hardware;
}

Roofline Small(const Hardware& hardware = SmallHardware(), int ranks = 1,
               WeightFormat weights = WeightFormat::kBF16) {
  return Roofline(SmallConfig(), hardware, weights, ranks);
}

TEST(Roofline, FewRowsWaitForWeights) {
  EXPECT_DOUBLE_EQ(Small().LayerSeconds({1, 0, 0}), 1152.0 / 100);
  EXPECT_DOUBLE_EQ(Small().LayerSeconds({10, 0, 0}), 1152.0 / 100);  // 11,520 operations, as long
}

TEST(Roofline, ManyRowsWaitForArithmetic) {
  EXPECT_DOUBLE_EQ(Small().LayerSeconds({20, 0, 0}), 20 * 1152.0 / 1000);
}

TEST(Roofline, AttentionComesOnTop) {
  EXPECT_DOUBLE_EQ(Small().LayerSeconds({1, 50, 50}), 11.52 + 50 * 16 / 100.0);
  // Four queries on the same keys: now arithmetic takes longer, 200 pairs.
  EXPECT_DOUBLE_EQ(Small().LayerSeconds({4, 10, 200}), 11.52 + 200 * 32 / 1000.0);
}

TEST(Roofline, RanksShareWorkAndExchangeActivations) {
  Hardware hardware = SmallHardware();
  hardware.all_reduce_latency_s = 0.25;
  hardware.all_reduce_bytes_s = 64;
  // Two all-reduces of 3 rows x 8 x 2 = 48 bytes, of which 2 x 3 / 4 pass the bus.
  EXPECT_DOUBLE_EQ(Small(hardware, 4).LayerSeconds({3, 0, 0}),
                   11.52 / 4 + 2 * (0.25 + 1.5 * 48 / 64));
  EXPECT_DOUBLE_EQ(Small(hardware, 1).LayerSeconds({3, 0, 0}), 11.52);
}

TEST(Roofline, OverheadsAddUpButIssuingOverlaps) {
  Hardware hardware = SmallHardware();
  hardware.layer_overhead_s = 0.5;
  EXPECT_DOUBLE_EQ(Small(hardware).LayerSeconds({1, 0, 0}), 12.02);
  hardware.layer_issue_s = 12;
  EXPECT_DOUBLE_EQ(Small(hardware).LayerSeconds({1, 0, 0}), 12.02);
  hardware.layer_issue_s = 13;
  EXPECT_DOUBLE_EQ(Small(hardware).LayerSeconds({1, 0, 0}), 13);
}

TEST(Roofline, HeadIsReadOnceAndSampledByRow) {
  Hardware hardware = SmallHardware();
  hardware.forward_overhead_s = 1;
  hardware.sample_row_s = 0.125;
  EXPECT_DOUBLE_EQ(Small(hardware).HeadSeconds(4, 10), 1 + 160 / 100.0 + 0.5);
  EXPECT_DOUBLE_EQ(Small(hardware).HeadSeconds(4, 5), 1 + 80 / 100.0 + 0.5);
}

TEST(Roofline, QuantisedWeightsAreReadFaster) {
  EXPECT_DOUBLE_EQ(Small(SmallHardware(), 1, WeightFormat::kInt8).LayerSeconds({1, 0, 0}),
                   576 * kernels::BytesPerWeight(WeightFormat::kInt8) / 100);
  EXPECT_DOUBLE_EQ(Small(SmallHardware(), 1, WeightFormat::kInt8).LayerSeconds({100, 0, 0}),
                   100 * 1152.0 / 2000);
}

TEST(Roofline, DecodingPassesAllLayersAndTheHead) {
  EXPECT_DOUBLE_EQ(Small().DecodeSeconds(50), 2 * (11.52 + 8) + 1.6);
}

TEST(Roofline, KvFillsWhatWeightsLeave) {
  // Of 0.9 x 10,000 bytes: matrices 2,304 + 160, the input embedding 160; 32 bytes a token.
  EXPECT_EQ(Small().KvTokensThatFit(), (9000 - 2464 - 160) / 32);
  Hardware tiny = SmallHardware();
  tiny.memory_bytes = 1000;
  EXPECT_EQ(Small(tiny).KvTokensThatFit(), 0);
}

// No overheads and nothing but weights to read: a layer takes 576 x 2 / 100 = 11.52 s however few
// its rows, the head 1.6 s.
Roofline Plain() {
  ModelConfig config;
  config.vocab_size = 10;
  config.hidden_size = 8;
  config.intermediate_size = 16;
  config.num_layers = 4;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 4;
  Hardware hardware;
  hardware.read_bytes_s = 100;
  hardware.flop_s = hardware.int8_flop_s = 1e9;
  return Roofline(config, hardware, kernels::WeightFormat::kBF16, 1);
}

TEST(TokensPerRound, IsAGeometricSum) {
  EXPECT_DOUBLE_EQ(TokensPerRound(0.5, 3), 1.875);
  EXPECT_DOUBLE_EQ(TokensPerRound(0, 3), 1);
  EXPECT_DOUBLE_EQ(TokensPerRound(1, 3), 4);
}

TEST(PredictedSpeedup, IsTokensOverTime) {
  const double round = 2 * (11.52 + 1.6) + (4 * 11.52 + 1.6);
  for (const bool reuses : {false, true}) {  // rows are free here, so both take as long
    EXPECT_NEAR(PredictedSpeedup(Plain(), 1, 2, 0.5, 0, reuses), 1.75 * (4 * 11.52 + 1.6) / round,
                1e-9);
  }
}

TEST(KnownHardware, IsFoundByName) {
  for (const Hardware& hardware : KnownHardware()) {
    const auto found = FindHardware(hardware.name);
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->description, hardware.description);
  }
  const auto missing = FindHardware("abacus");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("8xA100"), std::string::npos);
}

}  // namespace
}  // namespace strata
