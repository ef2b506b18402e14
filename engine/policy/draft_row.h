// A sample as the draft controller sees it.

#ifndef STRATA_ENGINE_POLICY_DRAFT_ROW_H_
#define STRATA_ENGINE_POLICY_DRAFT_ROW_H_

#include <cstdint>
#include <vector>

#include "engine/policy/acceptance_model.h"
#include "engine/sampler.h"

namespace strata {

class Sequence;

// Its owner keeps it from round to round.
struct DraftRow {
  enum class Kind : uint8_t {
    kOff,
    kPinned,  // drafts most_drafts at exit_layer, whatever it costs
    kAuto
  };

  // ---- Constant
  const Sequence* sequence = nullptr;  // the owner's; not looked at
  Kind kind = Kind::kOff;
  Sampler::Mode mode = Sampler::Mode::kGreedy;
  int most_drafts = 0;           // kAuto: 0 means as many as the server allows
  std::vector<int> exit_layers;  // kAuto: to choose from; empty: the controller's candidates
  int tenant = 0;                // DraftController::Tenant

  // ---- Set by the owner before each Plan
  int context_tokens = 0;
  int tokens_left = 0;  // that may still be generated

  // ---- Decided by Plan
  int exit_layer = 0;  // kPinned: the owner's, constant
  int num_drafts = 0;  // in the coming round, at most; the scheduler may lower it before Begin

  // ---- Set by the owner before each Review
  int drafted = 0;       // in this round
  float confidence = 0;  // of the newest draft

  // ---- Decided by Review
  bool keep_drafting = false;

  // ---- The controller's own
  OddsFactor factor = {1, kRequestPrior.variance};  // of its drafts' odds, over its tenant's
  float odds = 1;                                   // of its drafts, over the traffic's
  float survival = 1;  // probability that all its drafts of this round are accepted
  float gain = 0;      // tokens that its next draft is expected to add
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_DRAFT_ROW_H_
