#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include "kernels/cpu/cores.h"

namespace strata::kernels {
namespace {

TEST(ThreadPool, RunDoesEachItemOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.num_threads(), threads);
    for (const int items : {0, 1, 2, 7, 100}) {
      std::vector<int> calls(items);
      pool.Run(items, [&](int item) { ++calls[item]; });
      EXPECT_EQ(calls, std::vector<int>(items, 1));
    }
  }
}

// A thread that is held up in one item leaves its others to the rest.
TEST(ThreadPool, AThreadHeldUpHoldsUpOnlyWhatItHasBegun) {
  ThreadPool pool(2);
  std::atomic<int> done = 0;
  bool all_others_were_done = false;
  pool.Run(16, [&](int item) {
    if (item == 8) {  // the first of the second thread's share
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (done < 15 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
      all_others_were_done = done == 15;
    }
    ++done;
  });
  EXPECT_TRUE(all_others_were_done);
}

TEST(ThreadPool, ZeroMeansAtLeastOne) { EXPECT_GE(ThreadPool(0).num_threads(), 1); }

TEST(ThreadPool, ParallelForCoversTheRangeOnce) {
  ThreadPool pool(3);
  for (const int64_t count : {0, 1, 2, 3, 4, 100}) {
    for (const bool serial : {false, true}) {
      std::vector<int> calls(count);
      pool.ParallelFor(count, serial, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++calls[i];
      });
      EXPECT_EQ(calls, std::vector<int>(count, 1));
    }
  }
}

TEST(ThreadPool, SerialStaysOnTheCallingThread) {
  ThreadPool pool(3);
  pool.ParallelFor(100, /*serial=*/true, [caller = std::this_thread::get_id()](int64_t, int64_t) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
  });
}

// Plain memory written in one run is read in the next by another thread, for
// thread sanitizer to object if an edge is missing.
TEST(ThreadPool, RunsAreOrdered) {
  ThreadPool pool(3);
  std::vector<int64_t> values(3, 1);
  std::vector<int64_t> next(3);
  for (int i = 0; i < 2000; ++i) {
    pool.Run(3, [&](int item) { next[item] = values[(item + 1) % 3] + 1; });
    values.swap(next);
  }
  EXPECT_EQ(values, std::vector<int64_t>(3, 2001));
}

// Pauses around the time workers spin, so that some runs find them parked,
// some spinning and some about to park.
TEST(ThreadPool, WakesParkedWorkers) {
  ThreadPool pool(4);
  int64_t total = 0;
  for (int i = 0; i < 300; ++i) {
    std::vector<int64_t> parts(4);
    pool.Run(4, [&](int item) { parts[item] = item + 1; });
    total += std::accumulate(parts.begin(), parts.end(), int64_t{0});
    std::this_thread::sleep_for(std::chrono::microseconds(i % 3 * 45));
  }
  EXPECT_EQ(total, 300 * 10);
}

// As many items as threads, each waiting for all: so each runs on a thread of its own.
TEST(ThreadPool, PinnedThreadsHaveACoreEach) {
  const std::vector<int> cores = AvailableCores();
  const int threads = static_cast<int>(cores.size());
  std::vector<int> backwards(cores.rbegin(), cores.rend());
  ThreadPool pool(threads, backwards, /*pinned=*/true);
  std::atomic<int> arrived = 0;
  std::mutex mu;
  std::multiset<std::vector<int>> seen;
  pool.Run(threads, [&](int) {
    for (arrived.fetch_add(1); arrived.load() < threads;) std::this_thread::yield();
    std::lock_guard lock(mu);
    seen.insert(AvailableCores());
  });
  std::multiset<std::vector<int>> expected = {cores};  // the caller stays as it is
  for (int i = 1; i < threads; ++i) expected.insert({backwards[i]});
  EXPECT_EQ(seen, expected);
}

TEST(ThreadPool, StartsAndStopsUnused) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace strata::kernels
