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
  // What the last of so many looks says.
  bool LookFor(int num_seconds, bool busy, int64_t rounds) {
    bool stuck = false;
    for (int i = 0; i < num_seconds; ++i) {
      now_ += seconds(1);
      stuck = detector_.Look(now_, {busy, rounds});
    }
    return stuck;
  }

  Instant now_;
  StuckDetector detector_{seconds(10)};
};

TEST_F(StuckDetectorTest, ARoundWithoutEndIsStuckAfterTheFloor) {
  EXPECT_FALSE(LookFor(100, false, 0));
  EXPECT_FALSE(LookFor(10, true, 0));
  EXPECT_TRUE(LookFor(1, true, 0));
  EXPECT_TRUE(LookFor(100, true, 0));
}

TEST_F(StuckDetectorTest, MovesAgain) {
  LookFor(1, true, 5);
  EXPECT_TRUE(LookFor(11, true, 5));
  EXPECT_FALSE(LookFor(1, true, 6));
}

TEST_F(StuckDetectorTest, IdleIsNotStuck) {
  LookFor(1, true, 5);
  EXPECT_FALSE(LookFor(1, false, 6));
  EXPECT_FALSE(LookFor(1000, false, 6));
  // The next round's time begins when it was first seen, not when the last one ended.
  EXPECT_FALSE(LookFor(10, true, 6));
  EXPECT_TRUE(LookFor(1, true, 6));
}

TEST_F(StuckDetectorTest, LongRoundsMakePatient) {
  LookFor(1, true, 0);
  for (int i = 1; i <= 5; ++i) {
    LookFor(3, true, i - 1);
    EXPECT_FALSE(LookFor(1, true, i));  // it took four seconds
  }
  EXPECT_FALSE(LookFor(40, true, 5));  // ten times as long
  EXPECT_TRUE(LookFor(1, true, 5));
}

TEST_F(StuckDetectorTest, PatienceWearsOff) {
  LookFor(1, true, 0);
  LookFor(99, true, 0);
  EXPECT_FALSE(LookFor(1, true, 1));  // once, a round of a hundred seconds
  for (int i = 2; i < 600; ++i) LookFor(1, true, i);
  EXPECT_TRUE(LookFor(11, true, 599));
}

TEST_F(StuckDetectorTest, AProcessThatStoodStillIsNotStuck) {
  LookFor(1, true, 5);
  now_ += seconds(1000);  // stopped in the middle of a round
  EXPECT_FALSE(LookFor(5, true, 5));
  EXPECT_FALSE(LookFor(1, true, 6));
  // Nor is it taken for a round of a thousand seconds.
  EXPECT_TRUE(LookFor(100, true, 6));
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
