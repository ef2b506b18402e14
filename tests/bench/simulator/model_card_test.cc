#include "bench/simulator/model_card.h"

#include <gtest/gtest.h>

#include "bench/simulator/model_shapes.h"

namespace strata::sim {
namespace {

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

TEST(ImpliedAcceptance, InvertsThePrediction) {
  const Roofline roofline(*FindModelShape("llama2-70b"), *FindHardware("8xA100"),
                          kernels::WeightFormat::kBF16, 8);
  for (const double acceptance : {0.2, 0.6, 0.95}) {
    const double speedup = PredictedSpeedup(roofline, 10, 4, acceptance, 300, true);
    EXPECT_NEAR(ImpliedAcceptance(roofline, 10, 4, speedup, 300, true), acceptance, 1e-9);
  }
  EXPECT_EQ(ImpliedAcceptance(roofline, 10, 4, 9, 300, true), 1);
  EXPECT_NEAR(ImpliedAcceptance(roofline, 10, 4, 0.1, 300, true), 0, 1e-9);
}

}  // namespace
}  // namespace strata::sim
