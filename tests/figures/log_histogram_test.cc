#include "figures/log_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace strata {
namespace {

TEST(LogHistogram, HasNoPercentilesWithoutValues) {
  const LogHistogram histogram;
  EXPECT_EQ(histogram.count(), 0);
  EXPECT_EQ(histogram.mean(), 0);
  EXPECT_EQ(histogram.Percentile(0.5), 0);
}

TEST(LogHistogram, PercentilesAreWithinAPercentOfTheSortedValues) {
  std::mt19937_64 random(7);
  for (int repetition = 0; repetition < 20; ++repetition) {
    std::lognormal_distribution<double> draw(-3, 0.1 + 0.2 * repetition);
    LogHistogram histogram;
    std::vector<double> values(1 + random() % 3000);
    for (double& value : values) {
      value = std::clamp(draw(random), 1e-6, 1e6);
      histogram.Add(value);
    }
    std::sort(values.begin(), values.end());
    for (const double fraction : {0.0, 0.01, 0.5, 0.9, 0.99, 1.0}) {
      const double rank = std::max(1.0, std::ceil(fraction * static_cast<double>(values.size())));
      const double exact = values[static_cast<size_t>(rank) - 1];
      EXPECT_NEAR(histogram.Percentile(fraction) / exact, 1, 0.0101) << fraction;
    }
  }
}

TEST(LogHistogram, MergingIsAddingAll) {
  LogHistogram one, other, both;
  for (int i = 1; i <= 100; ++i) {
    (i % 3 == 0 ? one : other).Add(i);
    both.Add(i);
  }
  one.Merge(other);
  EXPECT_EQ(one.count(), 100);
  EXPECT_DOUBLE_EQ(one.mean(), 50.5);
  for (const double fraction : {0.1, 0.5, 0.99}) {
    EXPECT_EQ(one.Percentile(fraction), both.Percentile(fraction));
  }
}

TEST(LogHistogram, CountsSeveralAtOnce) {
  LogHistogram histogram;
  histogram.Add(1, 99);
  histogram.Add(1000);
  EXPECT_EQ(histogram.count(), 100);
  EXPECT_NEAR(histogram.Percentile(0.99), 1, 0.01);
  EXPECT_NEAR(histogram.Percentile(1), 1000, 10);
}

TEST(LogHistogram, TakesValuesOutOfItsRangeForItsEnds) {
  LogHistogram histogram;
  histogram.Add(0);
  histogram.Add(1e12);
  EXPECT_NEAR(histogram.Percentile(0) / 1e-6, 1, 0.02);
  EXPECT_NEAR(histogram.Percentile(1) / 1e6, 1, 0.02);
}

}  // namespace
}  // namespace strata
