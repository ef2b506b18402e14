#include "bench/simulator/log_histogram.h"

#include <gtest/gtest.h>

namespace strata::sim {
namespace {

TEST(LogHistogram, PercentilesAreExactToOnePercent) {
  LogHistogram histogram;
  for (int i = 1; i <= 1000; ++i) histogram.Add(i * 0.001);
  EXPECT_EQ(histogram.count(), 1000);
  EXPECT_NEAR(histogram.mean(), 0.5005, 1e-9);
  for (const double fraction : {0.01, 0.5, 0.95, 0.99, 1.0}) {
    EXPECT_NEAR(histogram.Percentile(fraction), fraction, 0.0101 * fraction);
  }
  EXPECT_NEAR(histogram.Percentile(0), 0.001, 1e-5);
}

TEST(LogHistogram, IsEmptyAtFirst) {
  EXPECT_EQ(LogHistogram().Percentile(0.5), 0);
  EXPECT_EQ(LogHistogram().mean(), 0);
}

TEST(LogHistogram, MergesLikeAddingAll) {
  LogHistogram low, high, all;
  for (int i = 1; i <= 100; ++i) {
    low.Add(i * 0.01);
    high.Add(i * 10.0, 2);
    all.Add(i * 0.01);
    all.Add(i * 10.0, 2);
  }
  low.Merge(high);
  EXPECT_EQ(low.count(), 300);
  EXPECT_NEAR(low.mean(), all.mean(), 1e-9);
  for (const double fraction : {0.1, 0.33, 0.5, 0.9}) {
    EXPECT_EQ(low.Percentile(fraction), all.Percentile(fraction));
  }
}

TEST(LogHistogram, TakesWhatIsOutOfRange) {
  LogHistogram histogram;
  histogram.Add(0);
  histogram.Add(1e12);
  EXPECT_NEAR(histogram.Percentile(0.5), 1e-6, 1e-7);
  EXPECT_NEAR(histogram.Percentile(1), 1e6, 2e4);
}

}  // namespace
}  // namespace strata::sim
