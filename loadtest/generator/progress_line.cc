#include "loadtest/generator/progress_line.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace strata::loadtest {
namespace {

constexpr std::chrono::milliseconds kPeriod{500};

void Write(std::FILE* out, const std::string& line) {
  fmt::print(out, "\r\x1b[K{}", line);
  std::fflush(out);
}

void Report(std::stop_token stop, std::FILE* out, const std::string& load,
            const Collector& collector) {
  std::mutex mu;
  std::condition_variable_any wake;
  Stopwatch stopwatch;
  Collector::Progress before;
  double before_s = 0;
  std::unique_lock lock(mu);
  while (!wake.wait_for(lock, stop, kPeriod, [&] { return stop.stop_requested(); })) {
    const Collector::Progress now = collector.progress();
    const double now_s = stopwatch.Seconds();
    Write(out,
          fmt::format("{}: {:.0f} s, {} sent, {} ended, {} failed, {} in flight, {:.0f} tokens/s",
                      load, now_s, now.sent, now.done, now.failed, now.in_flight,
                      static_cast<double>(now.tokens - before.tokens) / (now_s - before_s)));
    before = now;
    before_s = now_s;
  }
  Write(out, "");
}

}  // namespace

ProgressLine::ProgressLine(std::FILE* out, std::string load, const Collector* collector)
    : thread_([out, load = std::move(load), collector](std::stop_token stop) {
        Report(std::move(stop), out, load, *collector);
      }) {}

}  // namespace strata::loadtest
