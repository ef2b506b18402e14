// Runs requests on an engine and measures them.

#ifndef STRATA_BENCH_WORKLOAD_H_
#define STRATA_BENCH_WORKLOAD_H_

#include <chrono>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/observer.h"

namespace strata::bench {

// Sums of the rounds since the last Reset. Written by the step thread while requests run, read
// when they are done.
class RoundTotals final : public EngineObserver {
 public:
  void Reset() { totals_ = RoundReport{}, num_rounds_ = 0; }
  const RoundReport& totals() const { return totals_; }
  int num_rounds() const { return num_rounds_; }

  void OnRound(const RoundReport& report) override;
  void OnFirstToken(Duration) override {}
  void OnInterToken(Duration, int) override {}
  void OnFinished(const FinishedEvent&) override {}
  void OnAborted(const absl::Status&) override {}

 private:
  RoundReport totals_;
  int num_rounds_ = 0;
};

inline double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

struct Measurement {
  double prefill_seconds = 0;    // first submit to the last request's first token
  double decode_seconds = 0;     // from there to the last token
  int decoded_tokens = 0;        // in decode_seconds
  SpeculationStats speculation;  // of all requests; rounds without the prefill's
  RoundReport decode_rounds;     // sums over the rounds that decoded
  int num_decode_rounds = 0;

  double tokens_per_second() const { return decoded_tokens / decode_seconds; }
};

// Tokens of one request that came together.
struct Arrival {
  Instant at;
  int num_tokens = 0;
};
// The times and numbers of tokens of requests that were submitted at once, by what came of each:
// something of every one.
Measurement MeasureArrivals(Instant submitted, const std::vector<std::vector<Arrival>>& requests);

// Runs all `requests` at once on an idle engine that reports to `rounds`.
absl::StatusOr<Measurement> Measure(Engine& engine, RoundTotals& rounds,
                                    const std::vector<GenerateRequest>& requests);

}  // namespace strata::bench

#endif  // STRATA_BENCH_WORKLOAD_H_
