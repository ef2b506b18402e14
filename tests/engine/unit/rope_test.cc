// RoPE tables against values computed with Python's floats.

#include "engine/model/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

namespace strata {
namespace {

ModelConfig Config(double theta, int head_dim) {
  ModelConfig config;
  config.rope_theta = theta;
  config.head_dim = head_dim;
  return config;
}

void ExpectFrequencies(const ModelConfig& config,
                       const std::vector<std::pair<int, double>>& expected) {
  const std::vector<float> frequencies = RopeFrequencies(config);
  ASSERT_EQ(frequencies.size(), static_cast<size_t>(config.head_dim / 2));
  for (const auto& [index, frequency] : expected) {
    EXPECT_NEAR(frequencies[index], frequency, 1e-7 * frequency) << "pair " << index;
  }
}

TEST(Rope, FrequenciesAreThetasPowers) {
  ExpectFrequencies(Config(10000, 128), {{0, 1.0},
                                         {1, 0.8659643233600653},
                                         {31, 0.011547819846894581},
                                         {63, 0.00011547819846894582}});
}

TEST(Rope, LinearScalingDividesAll) {
  ModelConfig config = Config(10000, 128);
  config.rope_scaling.type = RopeScaling::Type::kLinear;
  config.rope_scaling.factor = 4;
  ExpectFrequencies(config,
                    {{0, 0.25}, {1, 0.8659643233600653 / 4}, {63, 0.00011547819846894582 / 4}});
}

// Llama 3.1's own numbers. Wavelengths: pair 28 has 1956 (kept, below 8192 / 4), 29 to 34 are
// interpolated, 35 has 8219 (stretched by 8, above 8192 / 1).
TEST(Rope, Llama3ScalingKeepsShortWavelengthsAndStretchesLongOnes) {
  ModelConfig config = Config(500000, 128);
  config.rope_scaling = {RopeScaling::Type::kLlama3, 8, 1, 4, 8192};
  ExpectFrequencies(config, {{0, 1.0},
                             {1, 0.8146172338565447},
                             {28, 0.003211445994752591},
                             {29, 0.002166570763503359},
                             {31, 0.0008567514129196321},
                             {34, 0.0001785078127679964},
                             {35, 9.556212353964683e-05},
                             {63, 3.068925988914511e-07}});
}

TEST(Rope, TableHoldsCosineAndSineOfEachPositionsAngles) {
  const ModelConfig config = Config(10000, 8);
  const HostRopeTable table = MakeRopeTable(config, 600);
  ASSERT_EQ(table.cos.size(), 600u * 4);
  ASSERT_EQ(table.sin.size(), 600u * 4);
  const std::vector<float> frequencies = RopeFrequencies(config);
  for (const int position : {0, 1, 17, 599}) {
    for (int i = 0; i < 4; ++i) {
      // An angle below 1024 is rounded by at most 2^-15.
      const double angle = position * std::pow(10000.0, -i / 4.0);
      EXPECT_NEAR(table.cos[position * 4 + i], std::cos(angle), 0x1p-14);
      EXPECT_NEAR(table.sin[position * 4 + i], std::sin(angle), 0x1p-14);
    }
  }
  EXPECT_EQ(table.cos[0], 1.0f);
  EXPECT_EQ(table.sin[0], 0.0f);
}

}  // namespace
}  // namespace strata
