// The step thread's work: takes in requests, runs rounds, tells sinks.

#ifndef STRATA_ENGINE_STEP_LOOP_H_
#define STRATA_ENGINE_STEP_LOOP_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/clock.h"
#include "engine/draft_vocabulary.h"
#include "engine/engine.h"
#include "engine/kv_pool.h"
#include "engine/model/model.h"
#include "engine/observer.h"
#include "engine/policy/auto_drafting.h"
#include "engine/rate_meter.h"
#include "engine/round.h"
#include "engine/round_trace.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/speculation_policy.h"

namespace strata {

// Used from one thread at a time.
class StepLoop {
 public:
  struct Config {
    SchedulerLimits scheduler;
    int max_context = 0;
    bool prefix_cache = true;
    uint64_t entropy = 0;  // of unseeded sampling
    RoundOptions round;
    // Drafts are chosen among that many tokens, learnt from the traffic. 0: among all, or those of
    // SetDraftTokens.
    int learnt_draft_tokens = 0;
    DraftControllerConfig drafting;
  };
  // All pointers but `observer` (which may be null) are required, and must outlive the loop.
  // `costs`: the model's.
  StepLoop(const Config& config, Model* model, const Tokenizer* tokenizer,
           const SpeculationPolicy* policy, const CostProfile& costs, EngineObserver* observer,
           const Clock* clock);

  // Drafts are chosen among `ids` (ascending, distinct) from the next round on.
  // Errors: RESOURCE_EXHAUSTED; drafts are chosen among all tokens then.
  absl::Status SetDraftTokens(std::vector<TokenId> ids);
  void Accept(std::shared_ptr<RequestState> request);
  void Cancel(RequestId id);
  // One round of what is there; nothing if there is nothing.
  // Throws kernels::DeviceError; only AbortAll may be called after that.
  void Step();
  void AbortAll(const absl::Status& reason);

  // Samples that have not ended.
  int num_unfinished() const { return scheduler_.num_running() + scheduler_.num_waiting(); }
  EngineLoad MakeLoad();
  DraftController& draft_controller() { return drafting_.controller(); }
  const EngineCounters& counters() const { return counters_; }
  // These from any thread.
  const RoundTrace& trace() const { return trace_; }
  Instant created() const { return created_; }

 private:
  struct ActiveRequest {
    std::shared_ptr<RequestState> state;
    std::vector<std::unique_ptr<Sequence>> samples;  // null: finished
  };
  using ActiveRequests = std::unordered_map<RequestId, ActiveRequest>;

  // Ends requests whose time is over.
  void ExpireRequests();
  void Expire(ActiveRequests::iterator request, Instant now);
  void Forget(ActiveRequests::iterator request);
  // Tells the sink that the sample begins, once.
  void Start(Sequence& sequence, Instant now);
  void Deliver(Sequence* sequence, Instant now);
  void ReportLatency(Sequence& sequence, const Delta& delta, Instant now);
  void FinishSample(Sequence* sequence, Instant now);
  void Abort(ActiveRequests::iterator request, const absl::Status& reason);
  void Count(const RoundReport& report, Instant now);
  // Times of a step: its begin, the round's begin, its end.
  void Trace(const RoundReport& report, Instant begin, Instant start, Instant end);
  void LearnDraftTokens();
  double draft_head_share() const;

  const Config config_;
  Model* const model_;
  const Tokenizer* const tokenizer_;
  const SpeculationPolicy* const policy_;
  EngineObserver* const observer_;
  const Clock* const clock_;
  const Instant created_;  // what the trace counts from

  KvPool kv_pool_;
  Scheduler scheduler_;
  RoundExecutor executor_;
  AutoDrafting drafting_;
  std::optional<DraftVocabulary> draft_vocabulary_;  // absent: nothing is learnt
  std::optional<Head> draft_head_;                   // absent: the model's own
  ActiveRequests active_;
  std::set<std::pair<Instant, RequestId>> expiries_;      // of those in active_ that have one
  std::vector<std::pair<Sequence*, RequestId>> planned_;  // of the current round
  uint64_t num_sequences_made_ = 0;
  EngineCounters counters_;
  Duration delivery_time_{};  // after the last round
  RoundTrace trace_;
  RoundRecord record_;  // of the current round
  RateMeter emitted_, drafted_, accepted_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_STEP_LOOP_H_
