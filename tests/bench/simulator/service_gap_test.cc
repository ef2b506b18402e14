#include "bench/simulator/service_gap.h"

#include <gtest/gtest.h>

namespace strata::sim {
namespace {

TEST(ServiceGap, IsTheLargestDriftOfAnyTime) {
  ServiceGap gap;
  gap.Note(true);
  gap.Serve(0, 10);
  gap.Note(true);  // lead 10
  gap.Serve(1, 25);
  gap.Note(true);  // lead -15: 25 apart since the last note
  gap.Serve(0, 10);
  gap.Note(true);
  EXPECT_DOUBLE_EQ(gap.largest(), 25);
  EXPECT_DOUBLE_EQ(gap.service(0), 20);
  EXPECT_DOUBLE_EQ(gap.service(1), 25);
}

TEST(ServiceGap, BeginsAnewWhereOneDidNotWait) {
  ServiceGap gap;
  gap.Note(true);
  gap.Serve(0, 5);
  gap.Note(true);
  gap.Note(false);
  gap.Serve(0, 100);
  gap.Note(true);
  gap.Serve(0, 4);
  gap.Note(true);
  EXPECT_DOUBLE_EQ(gap.largest(), 5);
}

TEST(ServiceGap, IgnoresOthers) {
  ServiceGap gap;
  gap.Note(true);
  gap.Serve(2, 100);
  gap.Note(true);
  EXPECT_DOUBLE_EQ(gap.largest(), 0);
}

}  // namespace
}  // namespace strata::sim
