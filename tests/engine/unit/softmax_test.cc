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
  // All lengths of the last chunk of 256, after none, one or two whole ones.
  for (int size = 1; size <= 600; size += size < 70 ? 1 : 7) {
    for (int round = 0; round < 50; ++round) {
      // Few values, so that the largest often occurs several times.
      std::vector<float> logits(size);
      for (float& logit : logits) logit = static_cast<float>(random() % 8) - 6.0f;
      const auto expected = std::max_element(logits.begin(), logits.end());
      const LogitScan scan = ScanLogits(logits);
      ASSERT_EQ(scan.best, static_cast<size_t>(expected - logits.begin()));
      ASSERT_EQ(scan.largest, *expected);
      ASSERT_TRUE(scan.finite);
    }
  }
}

TEST(Softmax, WeightsAndTheirSumAreTheReferencesAtAnyLength) {
  std::mt19937_64 random(2);
  std::normal_distribution<float> normal(0, 5);
  for (const int size : {1, 15, 16, 17, 255, 256, 257, 1505}) {
    std::vector<float> logits(size), weights(size);
    for (float& logit : logits) logit = normal(random);
    for (const float scale : {1.0f, 0.3f, 7.0f}) {
      const float largest = ScanLogits(logits).largest * scale;
      double expected = 0;
      for (const float logit : logits) {
        expected += std::exp(static_cast<double>(logit * scale - largest));
      }
      EXPECT_NEAR(ExpWeights(logits, scale, largest, weights), expected, 2e-7 * expected);
      EXPECT_NEAR(SumOf(weights), expected, 2e-7 * expected);
      EXPECT_NEAR(SumOfExp(logits, scale, largest), expected, 2e-7 * expected);
      for (int i = 0; i < size; ++i) ASSERT_EQ(weights[i], FastExp(logits[i] * scale - largest));
    }
  }
}

TEST(Softmax, ExcessIsTheReferencesAtAnyLength) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<float> unit(0, 1);
  for (const int size : {1, 15, 16, 17, 255, 256, 257, 1505}) {
    std::vector<float> p(size), q(size);
    for (float& weight : p) weight = unit(random);
    for (float& weight : q) weight = unit(random);
    double expected = 0;
    for (int i = 0; i < size; ++i) expected += std::max(0.7 * p[i] - 0.4 * q[i], 0.0);
    EXPECT_NEAR(SumOfExcess(p, 0.7, q, 0.4), expected, 1e-12 * size);
    EXPECT_EQ(SumOfExcess(p, 0.7, p, 0.7), 0);
  }
}

TEST(Softmax, AScanSeesOneBadNumberAnywhere) {
  using Limits = std::numeric_limits<float>;
  for (const int size : {37, 256, 550}) {
    std::vector<float> logits(size, -1e30f);
    logits[3] = 1e30f;
    logits[4] = Limits::denorm_min();
    EXPECT_TRUE(ScanLogits(logits).finite);
    for (const float bad : {Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::infinity(),
                            -Limits::infinity(), 1.1e30f, -1.1e30f, Limits::max()}) {
      for (float& logit : logits) {
        const float good = logit;
        logit = bad;
        const LogitScan scan = ScanLogits(logits);
        EXPECT_FALSE(scan.finite) << bad;
        EXPECT_LT(scan.best, logits.size());
        logit = good;
      }
    }
  }
}

}  // namespace
}  // namespace strata
