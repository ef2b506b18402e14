// What the engine tells about its work, for metrics.

#ifndef STRATA_ENGINE_OBSERVER_H_
#define STRATA_ENGINE_OBSERVER_H_

#include <cstdint>
#include <span>

#include "engine/clock.h"
#include "engine/policy/draft_report.h"
#include "engine/request.h"

namespace strata {

// The drafts of one sequence in one round.
struct DraftTally {
  int exit_layer = 0;
  int num_drafts = 0;
  int num_accepted = 0;
};

// One round: draft micro-steps, one full sweep, verification.
struct RoundReport {
  Duration draft_time{};
  // False: the device was not waited for, so that draft_time is what it took to tell it, and what
  // drafting took is in verify_time.
  bool draft_timed = true;
  Duration sweep_time{};   // the layers of the full sweep
  Duration verify_time{};  // heads of the sweep, sampling, verification and commits
  Duration probe_time{};   // of asking other exits what they would have drafted
  Duration total_time{};
  Duration draft_layers_time{};  // the layers' part of draft_time
  Duration head_time{};          // the output matrix's parts of draft_time and verify_time
  Duration overhead_time{};      // of the step thread since the round before, beside total_time
  int draft_micro_steps = 0;
  int64_t draft_row_layers = 0;  // (row, layer) pairs that the micro-steps computed
  int num_sequences = 0;
  int prefill_rows = 0;
  int cached_tokens = 0;  // positions taken over from the prefix cache, not computed
  int decode_rows = 0;    // rows of the sweep that are no prefill
  int drafted_tokens = 0;
  int accepted_tokens = 0;
  int emitted_tokens = 0;
  int preemptions = 0;
  int num_probes = 0;
  DraftReport drafting;
  std::span<const DraftTally> drafts;  // lives as long as the call of OnRound
};

// Called on the engine's step thread; must not block.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnRound(const RoundReport& report) = 0;
  // Submit to the request's first token.
  virtual void OnFirstToken(Duration since_submit) = 0;
  // Between two commits of one sequence, of which the second had `num_tokens`.
  virtual void OnInterToken(Duration since_last, int num_tokens) = 0;
  // A sample has finished by itself. accepted_per_position as in SpeculationStats.
  virtual void OnFinished(const FinishedEvent& event) = 0;
  // A request has ended otherwise: cancelled, past its deadline, failed.
  virtual void OnAborted(const absl::Status& status) = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_OBSERVER_H_
