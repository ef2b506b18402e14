#include "engine/rate_meter.h"

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <random>
#include <utility>

namespace strata {
namespace {

Instant At(double seconds) {
  return Instant(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds)));
}

TEST(RateMeter, SumsTheCurrentSecondAndTheNineBefore) {
  RateMeter meter;
  meter.Add(At(100.9), 1);
  meter.Add(At(101.1), 2);
  EXPECT_EQ(meter.Sum(At(101.2)), 3);
  EXPECT_EQ(meter.Sum(At(109.9)), 3);
  EXPECT_EQ(meter.Sum(At(110.0)), 2);
  EXPECT_EQ(meter.Sum(At(110.9)), 2);
  EXPECT_EQ(meter.Sum(At(111.0)), 0);
}

TEST(RateMeter, ForgetsEverythingAfterALongPause) {
  RateMeter meter;
  meter.Add(At(5), 7);
  EXPECT_EQ(meter.Sum(At(1e6)), 0);
  meter.Add(At(1e6), 2);
  EXPECT_EQ(meter.Sum(At(1e6)), 2);
}

TEST(RateMeter, IsEmptyAtFirst) {
  EXPECT_EQ(RateMeter().Sum(At(0)), 0);
  EXPECT_EQ(RateMeter().Sum(At(12345)), 0);
}

TEST(RateMeter, IsTheReferencesAtRandomTimes) {
  std::mt19937_64 random(1);
  RateMeter meter;
  std::deque<std::pair<int, double>> added;  // (second, amount)
  double now = 3;
  for (int step = 0; step < 5'000; ++step) {
    now += random() % 50 == 0 ? 8 : static_cast<double>(random() % 100) / 100;
    const double amount = static_cast<double>(random() % 5);
    meter.Add(At(now), amount);
    added.emplace_back(static_cast<int>(now), amount);
    double expected = 0;
    for (const auto& [second, value] : added) {
      if (second > static_cast<int>(now) - RateMeter::kWindowSeconds) expected += value;
    }
    ASSERT_EQ(meter.Sum(At(now)), expected) << "at " << now;
    if (added.size() > 100) added.pop_front();
  }
}

}  // namespace
}  // namespace strata
