// Gathers what the calls of a run come to.

#ifndef STRATA_LOADTEST_GENERATOR_COLLECTOR_H_
#define STRATA_LOADTEST_GENERATOR_COLLECTOR_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "figures/log_histogram.h"
#include "loadtest/generator/call_record.h"
#include "loadtest/generator/streaming_call.h"

namespace strata::loadtest {

// What happened in one second of a run.
struct Second {
  int64_t sent = 0;
  int64_t done = 0;
  int64_t failed = 0;
  int64_t tokens = 0;
  int64_t most_in_flight = 0;
};

// What was seen of a run, warm-up and all.
struct Observations {
  std::vector<CallRecord> calls;  // in the order in which they ended; token gaps are in `gaps_s`
  LogHistogram gaps_s;            // of the calls due after the warm-up
  std::vector<Second> seconds;
  int64_t not_sent = 0;  // due, but over the bound on calls in flight
};

// Thread-safe.
class Collector final : public CallObserver {
 public:
  explicit Collector(double warmup_s) : warmup_s_(warmup_s) {}

  void OnSent(double at_s);
  void OnNotSent();
  void OnTokens(double at_s, int num_tokens) override;
  void OnCallDone(CallRecord record) override;

  struct Progress {
    int64_t sent = 0;
    int64_t done = 0;
    int64_t failed = 0;
    int64_t in_flight = 0;
    int64_t tokens = 0;
  };
  Progress progress() const;
  // Waits until fewer than `limit` calls are in flight; false if that takes longer.
  bool WaitUntilFewer(int64_t limit, std::chrono::steady_clock::time_point deadline);
  // Once no call is in flight.
  Observations Take();

 private:
  Second& At(double at_s);  // needs mu_

  const double warmup_s_;
  mutable std::mutex mu_;
  std::condition_variable done_;
  // Guarded by mu_.
  Progress progress_;
  Observations observations_;
};

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_COLLECTOR_H_
