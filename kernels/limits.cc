#include "kernels/limits.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/cpu/cpu_memory.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/thread_pool.h"

namespace strata::kernels {
namespace {

constexpr int kReadPasses = 7;
// Many and short: on a shared machine some then run undisturbed.
constexpr int kPasses = 25;
constexpr double kPassSeconds = 0.005;
constexpr size_t kReadUnit = 1024;

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One result per thread, each on its own cache line.
struct alignas(64) Sink {
  float value = 0;
};

// Operations per second of all threads together.
double BestRate(ThreadPool& pool, double (*probe)(int64_t, float*)) {
  std::vector<Sink> sinks(pool.num_threads());
  int64_t iterations = 1000;
  double seconds = 0;
  double best = 0;
  for (int pass = 0; pass < kPasses;) {
    double ops = 0;
    const auto start = std::chrono::steady_clock::now();
    pool.Run(pool.num_threads(), [&](int item) {
      const double done = probe(iterations, &sinks[item].value);
      if (item == 0) ops = done;
    });
    seconds = SecondsSince(start);
    if (seconds < kPassSeconds) {
      iterations *= 2;
      continue;
    }
    best = std::max(best, ops * pool.num_threads() / seconds);
    ++pass;
  }
  return best;
}

double BestOf(int threads, double (*ProbeTable::*probe)(int64_t, float*)) {
  ThreadPool pool(threads);
  double best = 0;
  for (const ProbeTable* table : AvailableProbes()) {
    if (table->*probe != nullptr) best = std::max(best, BestRate(pool, table->*probe));
  }
  return best / 1e9;
}

}  // namespace

double MeasureReadBandwidth(int threads, size_t bytes) {
  ThreadPool pool(threads);
  const int64_t units = static_cast<int64_t>(bytes / kReadUnit);
  const Buffer buffer = AllocateHost(units * kReadUnit);
  char* data = static_cast<char*>(buffer.data());
  // Written first: untouched pages would all be the one zero page.
  pool.ParallelFor(units, false, [&](int64_t begin, int64_t end) {
    std::memset(data + begin * kReadUnit, 0, (end - begin) * kReadUnit);
  });
  void (*read)(const void*, size_t, float*) = nullptr;
  for (const ProbeTable* table : AvailableProbes()) {
    if (table->read != nullptr) read = table->read;
  }
  double best = 0;
  for (int pass = 0; pass < kReadPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.ParallelFor(units, false, [&](int64_t begin, int64_t end) {
      Sink sink;
      read(data + begin * kReadUnit, (end - begin) * kReadUnit, &sink.value);
    });
    best = std::max(best, static_cast<double>(units * kReadUnit) / SecondsSince(start));
  }
  return best / 1e9;
}

double MeasureBf16Peak(int threads) { return BestOf(threads, &ProbeTable::bf16_flops); }

double MeasureInt8Peak(int threads) { return BestOf(threads, &ProbeTable::int8_ops); }

}  // namespace strata::kernels
