// What a simulation has seen: each request, intervals of time, and totals.

#ifndef STRATA_BENCH_SIMULATOR_RECORDER_H_
#define STRATA_BENCH_SIMULATOR_RECORDER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "bench/simulator/service_gap.h"
#include "bench/simulator/token_process.h"
#include "bench/simulator/trace.h"
#include "bench/simulator/virtual_clock.h"
#include "engine/observer.h"
#include "engine/request.h"
#include "figures/log_histogram.h"

namespace strata::sim {

// Times in simulated seconds since the start; negative: it has not happened.
struct RequestRecord {
  TraceRequest trace;
  double submitted_s = -1;
  double started_s = -1;
  double first_token_s = -1;
  double last_token_s = -1;
  bool finished = false;  // refused or failed otherwise
  int cached_prompt_tokens = 0;
  int generated_tokens = 0;
  int drafted_tokens = 0;
  int accepted_tokens = 0;
};

struct Interval {
  double start_s = 0;
  double seconds = 0;
  int64_t rounds = 0;
  double busy_s = 0;  // in rounds
  int64_t emitted_tokens = 0;
  int64_t prefilled_tokens = 0;
  int64_t drafted_tokens = 0;
  int64_t accepted_tokens = 0;
  int64_t draft_row_layers = 0;
  int64_t decoding_rows = 0;  // (sequence, round) pairs that decoded
  int64_t preemptions = 0;
  int most_running = 0;
  int most_waiting = 0;
  int most_kv_blocks = 0;
  LogHistogram ttft;                   // seconds, by when the first token came
  LogHistogram itl;                    // seconds between two deltas of one request
  std::vector<int64_t> tenant_tokens;  // [tenants] emitted

  // Drafted tokens of a decoding sequence in a round, and the mean layer that they left at.
  double MeanDrafts() const;
  double MeanExit() const;
  double Acceptance() const;
};

// Listens to a simulated engine. Checks each token that it hears of against the process that it
// must come from.
class Recorder final : public EngineObserver {
 public:
  // Keeps at most this many intervals: where more time passes, they grow.
  static constexpr int kMaxIntervals = 240;

  // Pointers must outlive the recorder. `first_interval_s` is the intervals' first length.
  Recorder(const TokenProcess* process, const VirtualClock* clock, int num_tenants,
           double first_interval_s);

  // The request, which came at `submitted_s`, becomes the next record; the sink is to be submitted
  // with it.
  std::shared_ptr<TokenSink> Submit(const TraceRequest& request, const std::vector<TokenId>& prompt,
                                    double submitted_s);
  // The request becomes the next record, and that is all.
  void Refuse(const TraceRequest& request, double submitted_s);
  void NoteLoad(int running, int waiting, int kv_blocks);

  const std::vector<RequestRecord>& requests() const { return requests_; }
  const std::vector<Interval>& intervals() const { return intervals_; }
  // In the scheduler's own costs of tokens.
  const ServiceGap& service_gap() const { return service_gap_; }
  // Tokens per second until the last request was submitted: with closed loops, at full load. 0 if
  // all were submitted at once.
  double SteadyTokensPerSecond() const;
  // Tokens other than the process's own next one (invariant I1): always an engine's bug.
  int64_t wrong_tokens() const { return wrong_tokens_; }

  void OnRound(const RoundReport& report) override;
  void OnFirstToken(Duration) override {}
  void OnInterToken(Duration, int) override {}
  void OnFinished(const FinishedEvent&) override {}
  void OnAborted(const absl::Status&) override {}

 private:
  class Sink;

  void Add(const TraceRequest& request, double submitted_s);
  Interval& Now();
  void MergeIntervals();

  const TokenProcess* const process_;
  const VirtualClock* const clock_;
  const int num_tenants_;
  double interval_s_;
  std::vector<RequestRecord> requests_;
  std::vector<Interval> intervals_;
  int64_t emitted_tokens_ = 0;
  int64_t emitted_at_last_submit_ = 0;
  int64_t wrong_tokens_ = 0;
  ServiceGap service_gap_;
  std::vector<int> num_waiting_;  // [tenants] never started so far
};

// Seconds to the first token of a tenant's requests that got one, in `fraction` of them at most.
double TtftPercentile(const Recorder& recorder, int tenant, double fraction);

// Of a whole simulation.
struct Summary {
  int requests = 0;
  int finished = 0;
  double seconds = 0;  // until the last token
  int64_t rounds = 0;
  int64_t emitted_tokens = 0;
  int64_t prefilled_tokens = 0;
  int64_t cached_tokens = 0;
  double tokens_per_s = 0;
  double busy = 0;  // the part of the time that rounds took
  LogHistogram ttft;
  LogHistogram itl;
  LogHistogram token_time;  // of each request: last token less first, by the tokens between
  double mean_drafts = 0;
  double mean_exit = 0;
  double acceptance = 0;
  int64_t preemptions = 0;
};
Summary Summarize(const Recorder& recorder);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_RECORDER_H_
