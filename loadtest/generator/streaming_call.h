// One Generate call of a load test, without a thread of its own.

#ifndef STRATA_LOADTEST_GENERATOR_STREAMING_CALL_H_
#define STRATA_LOADTEST_GENERATOR_STREAMING_CALL_H_

#include <chrono>

#include "loadtest/generator/call_record.h"
#include "loadtest/generator/mix.h"
#include "strata/v1/inference.grpc.pb.h"

namespace strata::loadtest {

// Seconds since it was made.
class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  std::chrono::steady_clock::time_point At(double seconds) const {
    return start_ + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                        std::chrono::duration<double>(seconds));
  }

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Hears of calls, on gRPC's threads, from several at once. Must not block for long.
class CallObserver {
 public:
  virtual ~CallObserver() = default;
  virtual void OnTokens(double at_s, int num_tokens) = 0;
  // Exactly once per call, last.
  virtual void OnCallDone(CallRecord record) = 0;
};

struct CallSettings {
  std::chrono::milliseconds timeout{120'000};
  std::string token;  // says who calls; empty: nothing does
};

// Starts `call`, and returns. `record` has its index, entry and due time. Pointers must outlive the
// call, which ends with OnCallDone.
void StartStreamingCall(v1::Inference::Stub* stub, const PlannedCall& call, CallRecord record,
                        const CallSettings& settings, const Stopwatch* stopwatch,
                        CallObserver* observer);

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_STREAMING_CALL_H_
