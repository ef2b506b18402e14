#include "bench/simulator/model_card.h"

#include <gtest/gtest.h>

#include "bench/simulator/model_shapes.h"

namespace strata::sim {
namespace {

TEST(ModelShapes, HaveTheirPublishedSizes) {
  const std::pair<const char*, double> kBillions[] = {{"llama2-7b", 6.74},
                                                      {"llama2-13b", 13.02},
                                                      {"llama2-70b", 68.98},
                                                      {"llama3-8b", 8.03},
                                                      {"llama3.2-1b", 1.24}};
  for (const auto& [name, billions] : kBillions) {
    const auto config = FindModelShape(name);
    ASSERT_TRUE(config.ok()) << config.status();
    const Roofline roofline(*config, Hardware(), kernels::WeightFormat::kBF16, 1);
    const double embedding = config->tie_word_embeddings
                                 ? 0
                                 : static_cast<double>(config->vocab_size) * config->hidden_size;
    EXPECT_NEAR(roofline.weight_bytes() / 2 + embedding, billions * 1e9, 0.005e9) << name;
  }
  EXPECT_EQ(FindModelShape("llama9").status().code(), absl::StatusCode::kNotFound);
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
