// What the step thread takes for a round beside the backend's work.

#ifndef STRATA_BENCH_OVERHEAD_H_
#define STRATA_BENCH_OVERHEAD_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "bench/options.h"
#include "bench/report.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model/llama_model.h"
#include "engine/speculation_policy.h"
#include "engine/step_loop.h"
#include "engine/tokenizer/tokenizer.h"

namespace strata::bench {

// Sequences that decode on and on, over a backend that computes nothing.
class IdleBackendLoop {
 public:
  struct Shape {
    int num_sequences = 0;
    int num_draft_tokens = 0;  // of greedy ones all are accepted
    SamplingParams sampling;
    bool is_auto = false;  // the controller decides on drafts: none at all if num_draft_tokens is 0
  };
  // After a few rounds, in which memory is taken.
  static absl::StatusOr<std::unique_ptr<IdleBackendLoop>> Create(const std::string& folder,
                                                                 const Shape& shape);

  // One round: planned, run, delivered to sinks that do nothing.
  void Step() { loop_->Step(); }
  // The part of a round that reads its rows' logits, once each. Returns something of them, so that
  // it is not left out.
  size_t ScanLogits();
  int rows_per_round() const { return shape_.num_sequences * (1 + shape_.num_draft_tokens); }
  int64_t tokens_emitted() const { return loop_->counters().emitted_tokens; }

 private:
  IdleBackendLoop() = default;
  void AcceptRequests();

  Shape shape_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<LlamaModel> model_;
  std::unique_ptr<SpeculationPolicy> policy_;
  SteadyClock clock_;
  std::unique_ptr<StepLoop> loop_;
};

// overhead_NxR: N greedy sequences with R rows each; a round's time without that of reading logits,
// which is a row of its own, logits_NxR. overhead_auto_Nx1: what deciding not to draft adds.
absl::Status MeasureOverhead(const Options& options, Report& report);

}  // namespace strata::bench

#endif  // STRATA_BENCH_OVERHEAD_H_
