// What the draft controller decided for a round, and how well it foresees things.

#ifndef STRATA_ENGINE_POLICY_DRAFT_REPORT_H_
#define STRATA_ENGINE_POLICY_DRAFT_REPORT_H_

#include <cstdint>

namespace strata {

// Why automatic rows draft, or do not.
enum class DraftDecision : uint8_t {
  kNone,  // no automatic row decodes
  kDraft,
  kLoad,        // a row alone would draft; so many together would lose by it
  kAcceptance,  // too few drafts would be accepted even for one row alone
  kLatency,     // the ceiling of inter-token latency leaves no time
  kCap,         // nobody may draft: by the server's cap, the requests', or their ends
};

struct DraftReport {
  DraftDecision decision = DraftDecision::kNone;
  int exit_layer = 0;            // of automatic rows that name none
  int micro_steps = 0;           // planned
  double price = 0;              // of time, in tokens per second
  double expected_speedup = 0;   // of decoding, over plain; 1: does not draft
  double predicted_seconds = 0;  // of the round as it went, without probes
  // In which plain decoding would have committed the round's tokens. 0 where nothing was drafted,
  // or prompts were computed.
  double plain_seconds = 0;
  // Of late: mean of |actual / predicted - 1| of the times of draft phases and sweeps; mean
  // distance of predicted from observed acceptance.
  double step_time_error = 0;
  double calibration_error = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_DRAFT_REPORT_H_
