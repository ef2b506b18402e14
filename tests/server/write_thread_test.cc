#include "server/write_thread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace strata::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kAtOnce{0};

TEST(WriteThread, DoesAllOfItInOrderAwayFromTheCaller) {
  std::vector<int> done;
  std::thread::id worker;
  {
    WriteThread thread(kAtOnce);
    for (int i = 0; i < 1'000; ++i) {
      thread.Do([&, i] {
        done.push_back(i);
        worker = std::this_thread::get_id();
      });
    }
  }
  ASSERT_EQ(done.size(), 1'000) << "what waits is done before it ends";
  for (int i = 0; i < 1'000; ++i) EXPECT_EQ(done[i], i);
  EXPECT_NE(worker, std::this_thread::get_id());
}

TEST(WriteThread, DoesNotHoldUpWhoeverHasMore) {
  std::atomic<bool> go{false};
  std::atomic<int> done{0};
  {
    WriteThread thread(kAtOnce);
    thread.Do([&] {
      while (!go) std::this_thread::yield();
      ++done;
    });
    for (int i = 0; i < 100; ++i) thread.Do([&] { ++done; });
    EXPECT_EQ(done, 0);
    go = true;
  }
  EXPECT_EQ(done, 101);
}

TEST(WriteThread, TakesFromManyThreads) {
  int done = 0;  // by one thread only
  {
    WriteThread thread(kAtOnce);
    std::vector<std::jthread> callers;
    for (int caller = 0; caller < 4; ++caller) {
      callers.emplace_back([&] {
        for (int i = 0; i < 1'000; ++i) thread.Do([&] { ++done; });
      });
    }
    callers.clear();
  }
  EXPECT_EQ(done, 4'000);
}

TEST(WriteThread, DoesTogetherWhatComesWithinAnInterval) {
  constexpr milliseconds kInterval{100};
  constexpr int kNumWaiting = 100;
  std::atomic<int> num_done{0};
  WriteThread thread(kInterval);
  thread.Do([&] { ++num_done; });
  while (num_done < 1) std::this_thread::yield();
  const steady_clock::time_point begin = steady_clock::now();
  for (int i = 0; i < kNumWaiting; ++i) thread.Do([&] { ++num_done; });
  while (num_done < 1 + kNumWaiting) std::this_thread::yield();
  EXPECT_GE(steady_clock::now() - begin, kInterval / 2) << "not before the interval is over";
  EXPECT_LT(steady_clock::now() - begin, kInterval * kNumWaiting) << "not one interval each";
}

TEST(WriteThread, EndsWithoutWaitingForAnInterval) {
  const steady_clock::time_point begin = steady_clock::now();
  int done = 0;
  {
    WriteThread thread(std::chrono::hours(1));
    for (int i = 0; i < 3; ++i) thread.Do([&] { ++done; });
  }
  EXPECT_EQ(done, 3);
  EXPECT_LT(steady_clock::now() - begin, std::chrono::minutes(1));
}

}  // namespace
}  // namespace strata::server
