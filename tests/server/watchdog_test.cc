#include "server/watchdog.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace strata::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A detector with a floor of ten seconds, looked at second by second.
class StuckDetectorTest : public ::testing::Test {
 protected:
  bool LookAfter(Duration time, bool busy, int64_t rounds) {
    now_ += time;
    return detector_.Look(now_, {busy, rounds});
  }

  Instant now_;
  StuckDetector detector_{seconds(10)};
};

TEST_F(StuckDetectorTest, ARoundWithoutEndIsStuckAfterTheFloor) {
  EXPECT_FALSE(LookAfter(seconds(0), false, 0));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(LookAfter(seconds(1), true, 0)) << i;
  EXPECT_TRUE(LookAfter(seconds(1), true, 0));
  EXPECT_TRUE(LookAfter(seconds(100), true, 0));
}

TEST_F(StuckDetectorTest, MovesAgain) {
  LookAfter(seconds(0), true, 5);
  EXPECT_TRUE(LookAfter(seconds(11), true, 5));
  EXPECT_FALSE(LookAfter(seconds(1), true, 6));
}

TEST_F(StuckDetectorTest, IdleIsNotStuck) {
  LookAfter(seconds(0), true, 5);
  EXPECT_FALSE(LookAfter(seconds(1), false, 6));
  EXPECT_FALSE(LookAfter(seconds(1000), false, 6));
  // The next round's time begins when it was first seen, not when the last one ended.
  EXPECT_FALSE(LookAfter(seconds(1), true, 6));
  EXPECT_FALSE(LookAfter(seconds(9), true, 6));
  EXPECT_TRUE(LookAfter(seconds(1), true, 6));
}

TEST_F(StuckDetectorTest, LongRoundsMakePatient) {
  int64_t rounds = 0;
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(LookAfter(seconds(4), true, ++rounds));
  EXPECT_FALSE(LookAfter(seconds(40), true, rounds));  // ten times as long
  EXPECT_TRUE(LookAfter(seconds(1), true, rounds));
}

TEST_F(StuckDetectorTest, PatienceWearsOff) {
  LookAfter(seconds(0), true, 0);
  LookAfter(seconds(1000), true, 1);  // e.g. the machine slept
  int64_t rounds = 1;
  for (int i = 0; i < 2000; ++i) LookAfter(milliseconds(100), true, ++rounds);
  EXPECT_TRUE(LookAfter(seconds(11), true, rounds));
}

TEST(Watchdog, LooksByItself) {
  std::atomic<int64_t> rounds = 0;
  std::atomic<bool> stuck = false;
  Watchdog watchdog(
      milliseconds(40),
      [&] {
        return EngineProgress{true, rounds};
      },
      [&](bool is_stuck) { stuck = is_stuck; });
  while (!stuck) std::this_thread::sleep_for(milliseconds(1));
  while (stuck) {
    ++rounds;
    std::this_thread::sleep_for(milliseconds(1));
  }
}

}  // namespace
}  // namespace strata::server
