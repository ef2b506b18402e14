#include "bench/workload.h"

#include <gtest/gtest.h>

#include <chrono>

namespace strata::bench {
namespace {

const Instant kStart{};

Arrival At(int seconds, int num_tokens) {
  return {kStart + std::chrono::seconds(seconds), num_tokens};
}

TEST(MeasureArrivals, DecodesFromTheLastOnesFirstTokenOn) {
  const Measurement run =
      MeasureArrivals(kStart, {{At(1, 1), At(3, 2), At(4, 4)}, {At(2, 1), At(6, 8)}});
  EXPECT_EQ(run.prefill_seconds, 2);
  EXPECT_EQ(run.decode_seconds, 4);
  EXPECT_EQ(run.decoded_tokens, 2 + 4 + 8);
  EXPECT_DOUBLE_EQ(run.tokens_per_second(), 3.5);
}

}  // namespace
}  // namespace strata::bench
