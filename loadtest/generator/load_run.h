// Puts load on a server: calls when they are due (an open loop), or so many at a time (a closed
// one).

#ifndef STRATA_LOADTEST_GENERATOR_LOAD_RUN_H_
#define STRATA_LOADTEST_GENERATOR_LOAD_RUN_H_

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "loadtest/generator/arrivals.h"
#include "loadtest/generator/collector.h"
#include "loadtest/generator/mix.h"
#include "strata/v1/inference.grpc.pb.h"

namespace strata::loadtest {

struct LoadSettings {
  int concurrency = 0;           // calls at a time; 0: an open loop of `arrivals`
  double warmup_s = 0;           // at the start; its calls do not count
  double duration_s = 30;        // after the warm-up
  int64_t max_calls = 0;         // due after which the run ends too; 0: no such bound
  int64_t max_in_flight = 8192;  // of an open loop: calls due beyond it are not sent
  CallSettings call;
};

// Used from one thread; progress() of the collector from any.
class LoadRun {
 public:
  // One stub per connection. `arrivals` may be null for a closed loop. Pointers must outlive the
  // run.
  LoadRun(const LoadSettings& settings, std::vector<std::unique_ptr<v1::Inference::Stub>> stubs,
          CallPlanner* planner, Arrivals* arrivals, Collector* collector);

  // Sends calls until the time is over, the arrivals or max_calls are, or `stop` is true, then
  // waits for those in flight, which the calls' time-out bounds. Returns when the run ended, in
  // seconds: when its time was over; if it ended otherwise, with its last call.
  double Run(const std::atomic<bool>& stop);

 private:
  // The next call, once it is time for it; nullopt: the run is over.
  std::optional<Arrival> WaitForNext(const std::atomic<bool>& stop);
  // False if stopped.
  bool SleepUntil(double at_s, const std::atomic<bool>& stop) const;
  void Send(const Arrival& arrival);

  const LoadSettings settings_;
  const double end_s_;
  const std::vector<std::unique_ptr<v1::Inference::Stub>> stubs_;
  CallPlanner* const planner_;
  Arrivals* const arrivals_;
  Collector* const collector_;
  const Stopwatch stopwatch_;
  int64_t num_due_ = 0;
};

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_LOAD_RUN_H_
