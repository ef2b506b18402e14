#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>

namespace strata::kernels {
namespace {

TEST(ThreadPool, RunCallsEachThreadOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.num_threads(), threads);
    std::vector<int> calls(threads);
    pool.Run([&](int thread) { ++calls[thread]; });
    EXPECT_EQ(calls, std::vector<int>(threads, 1));
  }
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
    pool.Run([&](int thread) { next[thread] = values[(thread + 1) % 3] + 1; });
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
    pool.Run([&](int thread) { parts[thread] = thread + 1; });
    total += std::accumulate(parts.begin(), parts.end(), int64_t{0});
    std::this_thread::sleep_for(std::chrono::microseconds(i % 3 * 45));
  }
  EXPECT_EQ(total, 300 * 10);
}

TEST(ThreadPool, StartsAndStopsUnused) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace strata::kernels
