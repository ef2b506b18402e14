#include "engine/softmax.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace strata {
namespace {

TEST(FastExp, RelativeErrorIsBelowTwoTenMillionths) {
  constexpr int kPoints = 1 << 22;
  double worst = 0;
  for (int i = 0; i <= kPoints; ++i) {
    const float x = -87.0f * static_cast<float>(i) / kPoints;
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(FastExp(x) - exact) / exact);
  }
  EXPECT_LT(worst, 2e-7);
  EXPECT_EQ(FastExp(0.0f), 1.0f);
  EXPECT_EQ(FastExp(std::nextafter(-87.0f, -100.0f)), 0.0f);
  EXPECT_EQ(FastExp(-1e30f), 0.0f);
  EXPECT_EQ(FastExp(-INFINITY), 0.0f);
}

// The loops take 16 elements at a time, and what is left one by one.
TEST(Softmax, ArgmaxIsTheFirstOfTheLargestAtAnyLength) {
  std::mt19937_64 random(1);
  for (int size = 1; size <= 70; ++size) {
    for (int round = 0; round < 50; ++round) {
      // Few values, so that the largest often occurs several times.
      std::vector<float> logits(size);
      for (float& logit : logits) logit = static_cast<float>(random() % 8) - 6.0f;
      ASSERT_EQ(ArgmaxOf(logits), std::max_element(logits.begin(), logits.end()) - logits.begin());
    }
  }
}

TEST(Softmax, WeightsAndTheirSumAreTheReferencesAtAnyLength) {
  std::mt19937_64 random(2);
  std::normal_distribution<float> normal(0, 5);
  for (const int size : {1, 15, 16, 17, 255, 256, 257, 1505}) {
    std::vector<float> logits(size), weights(size);
    for (float& logit : logits) logit = normal(random);
    const float largest = logits[ArgmaxOf(logits)];
    double expected = 0;
    for (const float logit : logits) expected += std::exp(static_cast<double>(logit - largest));
    EXPECT_NEAR(ExpWeights(logits, largest, weights), expected, 2e-7 * expected);
    EXPECT_NEAR(SumOfExp(logits, largest), expected, 2e-7 * expected);
    for (int i = 0; i < size; ++i) ASSERT_EQ(weights[i], FastExp(logits[i] - largest));
  }
}

TEST(Softmax, AllFiniteSeesOneBadNumberAnywhere) {
  using Limits = std::numeric_limits<float>;
  std::vector<float> logits(37, -1e30f);
  logits[3] = 1e30f;
  logits[4] = Limits::denorm_min();
  EXPECT_TRUE(AllFinite(logits));
  for (const float bad : {Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::infinity(),
                          -Limits::infinity(), 1.1e30f, -1.1e30f, Limits::max()}) {
    for (float& logit : logits) {
      const float good = logit;
      logit = bad;
      EXPECT_FALSE(AllFinite(logits)) << bad;
      logit = good;
    }
  }
}

}  // namespace
}  // namespace strata
