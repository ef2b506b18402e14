#include "engine/queue_wait.h"

#include <gtest/gtest.h>

#include <chrono>

namespace strata {
namespace {

using std::chrono::milliseconds;

class QueueWaitTest : public testing::Test {
 protected:
  void Run(int steps, int num_ended, int num_waiting) {
    for (int i = 0; i < steps; ++i) wait_.Note(now_ += milliseconds(100), num_ended, num_waiting);
  }
  double Seconds(int num_ahead) const {
    return std::chrono::duration<double>(wait_.For(num_ahead).value()).count();
  }

  QueueWait wait_;
  Instant now_;
};

TEST_F(QueueWaitTest, IsTheTimeInWhichThoseAheadStart) {
  Run(100, 2, 5);  // 20 a second
  EXPECT_NEAR(Seconds(10), 0.5, 0.02);
  EXPECT_NEAR(Seconds(100), 5, 0.2);
  EXPECT_EQ(Seconds(0), 0);
  EXPECT_EQ(Seconds(-3), 0);
}

TEST_F(QueueWaitTest, IsUnknownUntilSomeHaveWaitedForAWhile) {
  Run(100, 2, 0);
  EXPECT_EQ(wait_.For(1), std::nullopt) << "nobody waited";
  Run(3, 2, 1);
  EXPECT_EQ(wait_.For(1), std::nullopt);
  Run(1, 2, 1);
  EXPECT_NEAR(Seconds(10), 0.5, 0.02);
}

TEST_F(QueueWaitTest, TimesWithoutAQueueDoNotCount) {
  Run(50, 2, 5);
  Run(1, 2, 0);
  Run(1000, 0, 0);
  Run(1, 0, 1);
  EXPECT_NEAR(Seconds(10), 0.5, 0.02);
}

TEST_F(QueueWaitTest, FollowsAChangeOfSpeed) {
  Run(300, 4, 5);
  Run(300, 1, 5);
  EXPECT_NEAR(Seconds(10), 1, 0.2);
}

TEST_F(QueueWaitTest, IsLongWhereNoneEnds) {
  Run(100, 0, 5);
  EXPECT_GT(Seconds(1), 5);
}

}  // namespace
}  // namespace strata
