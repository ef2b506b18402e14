// The collectives of ranks that are threads: what they compute, and how they end when a rank does
// not come, comes with something else, or gives up.

#include "kernels/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cpu/thread_communicator.h"

namespace strata::kernels {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

// Long enough for any machine, where nobody should be waited for in vain.
constexpr std::chrono::minutes kLong{5};
constexpr std::chrono::milliseconds kShort{50};

using Communicators = std::vector<std::unique_ptr<Communicator>>;

// Runs body(rank) on a thread for each rank; returns what each threw, "" if nothing.
std::vector<std::string> RunRanks(Communicators& ranks,
                                  const std::function<void(Communicator&)>& body) {
  std::vector<std::future<std::string>> results;
  for (auto& rank : ranks) {
    results.push_back(std::async(std::launch::async, [&body, &rank]() -> std::string {
      try {
        body(*rank);
      } catch (const CommunicatorError& error) {
        return error.what();
      }
      return "";
    }));
  }
  std::vector<std::string> errors;
  for (auto& result : results) errors.push_back(result.get());
  return errors;
}

TensorView Rows(std::vector<float>& x, int64_t rows) {
  return {x.data(), DType::kF32, rows, static_cast<int64_t>(x.size()) / rows};
}

// Values of very different sizes: another order of summation gives other bits.
std::vector<float> WildValues(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    value =
        std::ldexp(static_cast<float>(random()) / 0x1p31f - 1.0f, static_cast<int>(random() % 30));
  }
  return values;
}

class ThreadRanks : public testing::TestWithParam<int> {
 protected:
  int size() const { return GetParam(); }
  Communicators ranks_ = CreateThreadCommunicators(GetParam(), kLong);
};

TEST_P(ThreadRanks, KnowTheirPlaces) {
  for (int rank = 0; rank < size(); ++rank) {
    EXPECT_EQ(ranks_[rank]->rank(), rank);
    EXPECT_EQ(ranks_[rank]->size(), size());
    EXPECT_TRUE(ranks_[rank]->deterministic());
  }
}

TEST_P(ThreadRanks, AllReduceSumsInOrderOfRank) {
  for (const int64_t count : {1, 15, 16, 17, 1000, 1024 * size() + 5}) {
    std::vector<std::vector<float>> x(size());
    for (int rank = 0; rank < size(); ++rank) x[rank] = WildValues(count, 7 * rank + 1);
    std::vector<float> expected = x[0];
    for (int rank = 1; rank < size(); ++rank) {
      for (int64_t i = 0; i < count; ++i) expected[i] += x[rank][i];
    }
    EXPECT_THAT(RunRanks(ranks_, [&](Communicator& c) { c.AllReduceSum(Rows(x[c.rank()], 1)); }),
                Each(""));
    for (int rank = 0; rank < size(); ++rank) EXPECT_EQ(x[rank], expected) << "rank " << rank;
  }
}

// A row's bits must not depend on the rows reduced with it.
TEST_P(ThreadRanks, RowResultDoesNotDependOnRowCount) {
  constexpr int64_t kCols = 100;
  constexpr int64_t kRows = 37;
  std::vector<std::vector<float>> all(size());
  for (int rank = 0; rank < size(); ++rank) all[rank] = WildValues(kRows * kCols, 3 * rank + 2);
  std::vector<std::vector<float>> last(size());
  for (int rank = 0; rank < size(); ++rank)
    last[rank].assign(all[rank].end() - kCols, all[rank].end());
  RunRanks(ranks_, [&](Communicator& c) { c.AllReduceSum(Rows(all[c.rank()], kRows)); });
  RunRanks(ranks_, [&](Communicator& c) { c.AllReduceSum(Rows(last[c.rank()], 1)); });
  const std::vector<float> row(all[0].end() - kCols, all[0].end());
  EXPECT_EQ(last[0], row);
}

TEST_P(ThreadRanks, AllGatherCollectsRowsInOrderOfRank) {
  std::vector<float> expected(size() * 6);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = static_cast<float>(i);
  std::vector<std::vector<float>> x(size(), std::vector<float>(size() * 6, -1.0f));
  for (int rank = 0; rank < size(); ++rank) {
    std::copy_n(expected.begin() + rank * 6, 6, x[rank].begin() + rank * 6);
  }
  RunRanks(ranks_, [&](Communicator& c) { c.AllGather(Rows(x[c.rank()], 2 * size())); });
  for (int rank = 0; rank < size(); ++rank) EXPECT_EQ(x[rank], expected);
}

TEST_P(ThreadRanks, BroadcastCopiesTheRoots) {
  for (int root = 0; root < size(); ++root) {
    std::vector<std::vector<float>> x;
    for (int rank = 0; rank < size(); ++rank) x.push_back(WildValues(9, rank));
    const std::vector<float> expected = x[root];
    RunRanks(ranks_, [&](Communicator& c) { c.Broadcast(Rows(x[c.rank()], 3), root); });
    for (int rank = 0; rank < size(); ++rank) EXPECT_EQ(x[rank], expected);
  }
}

TEST_P(ThreadRanks, NobodyLeavesABarrierBeforeAllAreThere) {
  std::atomic<int> arrived{0};
  RunRanks(ranks_, [&](Communicator& c) {
    for (int round = 1; round <= 200; ++round) {
      ++arrived;
      c.Barrier();
      EXPECT_GE(arrived, round * size());
    }
  });
}

// Many different collectives in a row: a slow rank must not see the next one's memory.
TEST_P(ThreadRanks, ManyInARowDoNotMix) {
  std::vector<std::string> errors = RunRanks(ranks_, [&](Communicator& c) {
    std::mt19937 random(5);  // the same on each rank
    for (int i = 0; i < 500; ++i) {
      const int64_t count = 1 + random() % 70;
      std::vector<float> x(count * size(), static_cast<float>(c.rank() + i));
      const int root = static_cast<int>(random() % size());
      switch (random() % 3) {
        case 0: {
          c.AllReduceSum(Rows(x, 1));
          const float sum = static_cast<float>(i * size() + size() * (size() - 1) / 2);
          EXPECT_EQ(x, std::vector<float>(x.size(), sum));
          break;
        }
        case 1:
          c.AllGather(Rows(x, size()));
          for (int r = 0; r < size(); ++r) EXPECT_EQ(x[r * count], static_cast<float>(r + i));
          break;
        default:
          c.Broadcast(Rows(x, 1), root);
          EXPECT_EQ(x, std::vector<float>(x.size(), static_cast<float>(root + i)));
      }
    }
  });
  EXPECT_THAT(errors, Each(""));
}

TEST_P(ThreadRanks, AbortEndsThoseThatWaitAndAllThatFollows) {
  const auto errors = RunRanks(ranks_, [&](Communicator& c) {
    if (c.rank() == size() - 1) {
      c.Abort("rank 7: no memory");
      c.Abort("too late");
    }
    c.Barrier();
  });
  EXPECT_THAT(errors, Each("rank 7: no memory"));
  EXPECT_THAT(RunRanks(ranks_, [](Communicator& c) { c.Barrier(); }), Each("rank 7: no memory"));
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadRanks, testing::Values(1, 2, 3, 4, 7),
                         [](const auto& info) { return std::to_string(info.param); });

TEST(ThreadRanksFailing, ARankThatDoesNotComeIsNamed) {
  Communicators ranks = CreateThreadCommunicators(3, kShort);
  std::vector<float> x(8);
  const auto errors = RunRanks(ranks, [&](Communicator& c) {
    if (c.rank() != 1) c.AllReduceSum(Rows(x, 1));
  });
  EXPECT_EQ(errors[1], "");
  EXPECT_EQ(errors[0], errors[2]);
  EXPECT_THAT(errors[0], HasSubstr("rank 1 has not joined AllReduceSum of 32 bytes within 50 ms"));
}

TEST(ThreadRanksFailing, ARankThatComesTooLateHearsWhy) {
  Communicators ranks = CreateThreadCommunicators(2, kShort);
  std::promise<void> given_up;
  const auto errors = RunRanks(ranks, [&](Communicator& c) {
    if (c.rank() == 1) given_up.get_future().wait();
    try {
      c.Barrier();
    } catch (...) {
      if (c.rank() == 0) given_up.set_value();
      throw;
    }
  });
  EXPECT_THAT(errors, Each(HasSubstr("rank 1 has not joined Barrier")));
}

TEST(ThreadRanksFailing, OtherShapesAndOtherCollectivesAreRefused) {
  for (const bool other_shape : {true, false}) {
    Communicators ranks = CreateThreadCommunicators(3, kLong);
    std::vector<std::vector<float>> x(3, std::vector<float>(8, 1.0f));
    x[2].resize(other_shape ? 4 : 8);
    const auto errors = RunRanks(ranks, [&](Communicator& c) {
      if (c.rank() == 2 && !other_shape) {
        c.Broadcast(Rows(x[2], 1), 0);
      } else {
        c.AllReduceSum(Rows(x[c.rank()], 1));
      }
    });
    EXPECT_THAT(errors,
                Each(other_shape ? "rank 2 calls AllReduceSum of 16 bytes, rank 0 AllReduceSum of "
                                   "32 bytes"
                                 : "rank 2 calls Broadcast of 32 bytes, rank 0 AllReduceSum of 32 "
                                   "bytes"));
    EXPECT_THAT(x[0], Each(1.0f));  // nothing was added up
  }
}

TEST(LocalRank, LeavesItsDataAlone) {
  LocalCommunicator local;
  std::vector<float> x = WildValues(12, 1);
  const std::vector<float> expected = x;
  local.AllReduceSum(Rows(x, 3));
  local.AllGather(Rows(x, 3));
  local.Broadcast(Rows(x, 3), 0);
  local.Barrier();
  EXPECT_EQ(x, expected);
  EXPECT_EQ(local.rank(), 0);
  EXPECT_EQ(local.size(), 1);
}

}  // namespace
}  // namespace strata::kernels
