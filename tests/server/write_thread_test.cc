#include "server/write_thread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace strata::server {
namespace {

TEST(WriteThread, DoesAllOfItInOrderAwayFromTheCaller) {
  std::vector<int> done;
  std::thread::id worker;
  {
    WriteThread thread;
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
    WriteThread thread;
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
    WriteThread thread;
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

}  // namespace
}  // namespace strata::server
