// The ring of rounds: what is in it, and that readers beside the writer see whole rounds only.

#include "engine/round_trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace strata {
namespace {

// A round whose every part follows from its number.
RoundRecord MakeRound(uint64_t number) {
  RoundRecord record;
  record.start_ns = static_cast<int64_t>(3 * number);
  record.deliver_ns = static_cast<int64_t>(5 * number);
  record.preemptions = static_cast<uint32_t>(number);
  record.num_sequences = RoundRecord::kMaxSequences;
  for (RoundRecord::Sequence& sequence : record.sequences) {
    sequence.request = 7 * number;
    sequence.num_committed = static_cast<uint8_t>(number);
  }
  return record;
}

bool IsWhole(const RoundRecord& record) {
  const RoundRecord expected = MakeRound(record.number);
  if (record.start_ns != expected.start_ns || record.deliver_ns != expected.deliver_ns ||
      record.preemptions != expected.preemptions) {
    return false;
  }
  for (const RoundRecord::Sequence& sequence : record.sequences) {
    if (sequence.request != expected.sequences[0].request ||
        sequence.num_committed != expected.sequences[0].num_committed) {
      return false;
    }
  }
  return true;
}

TEST(RoundTrace, IsEmptyAtFirst) { EXPECT_TRUE(RoundTrace().Last(10).empty()); }

TEST(RoundTrace, KeepsTheLastRounds) {
  RoundTrace trace;
  for (uint64_t number = 1; number <= 3 * RoundTrace::kNumRounds / 2; ++number) {
    trace.Add(MakeRound(number));
    const size_t kept = std::min<size_t>(number, RoundTrace::kNumRounds);
    const std::vector<RoundRecord> last = trace.Last(2);
    ASSERT_EQ(last.size(), std::min<size_t>(kept, 2));
    EXPECT_EQ(last.back().number, number);
    if (number % 500 != 0) continue;
    const std::vector<RoundRecord> all = trace.Last(SIZE_MAX);
    ASSERT_EQ(all.size(), kept);
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(all[i].number, number - kept + 1 + i);
      EXPECT_TRUE(IsWhole(all[i]));
    }
  }
}

// Also a race for ThreadSanitizer to find.
TEST(RoundTrace, ReadersBesideTheWriterSeeWholeRoundsInOrder) {
  constexpr uint64_t kRounds = 50 * RoundTrace::kNumRounds;
  RoundTrace trace;
  std::atomic<bool> done = false;
  std::atomic<int64_t> num_read = 0;
  std::vector<std::jthread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!done) {
        uint64_t last = 0;
        for (const RoundRecord& record : trace.Last(SIZE_MAX)) {
          ASSERT_TRUE(IsWhole(record)) << record.number;
          ASSERT_GT(record.number, last);
          last = record.number;
          ++num_read;
        }
      }
    });
  }
  while (num_read == 0)
    trace.Add(MakeRound(trace.Last(1).empty() ? 1 : trace.Last(1)[0].number + 1));
  for (uint64_t number = trace.Last(1)[0].number + 1; number <= kRounds; ++number) {
    trace.Add(MakeRound(number));
  }
  done = true;
  readers.clear();
  EXPECT_EQ(trace.Last(1)[0].number, kRounds);
}

}  // namespace
}  // namespace strata
