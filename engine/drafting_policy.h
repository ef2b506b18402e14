// What a round asks about its drafts: whether to go on drafting, and, once the
// drafts are verified, what became of them.
//
// A policy decides how long drafts are, never what is generated: a row may stop drafting after any
// draft if the decision rests on what is known by then, which is all that a policy is told.

#ifndef STRATA_ENGINE_DRAFTING_POLICY_H_
#define STRATA_ENGINE_DRAFTING_POLICY_H_

#include <optional>
#include <span>

#include "engine/sequence.h"

namespace strata {

// A row that could draft once more.
struct DraftingRow {
  const Sequence* sequence = nullptr;
  int num_drafts = 0;  // in this round so far, at least 1
  // Of the newest draft: its probability by softmax of the logits at the exit, over the tokens that
  // drafts are chosen among, before penalties, bias, temperature and truncation.
  float confidence = 0;
  bool keep_drafting = true;  // the policy may clear it
};

// A row's drafts after verification.
struct DraftOutcome {
  const Sequence* sequence = nullptr;  // its exit_layer is the one that drafted
  // Of each draft, as DraftingRow::confidence; 0 where it is not known.
  std::span<const float> confidences;
  int num_accepted = 0;  // committed and sent: the first so many
};

// A draft that the policy would like to know about without drafting it: what layers
// [0, exit_layer) propose after the newest token of `sequence`, which must decode in this round,
// and not draft at that exit.
struct WantedProbe {
  const Sequence* sequence = nullptr;
  int exit_layer = 0;
};

struct ProbeOutcome {
  const Sequence* sequence = nullptr;
  int exit_layer = 0;
  std::optional<float> confidence;  // as of a draft; absent where no draft was chosen (unseeded)
  float acceptance = 0;             // its probability to be accepted; 0 or 1 if it was chosen
};

// Used from the step thread only.
class DraftingPolicy {
 public:
  virtual ~DraftingPolicy() = default;
  // As the round begins. Valid until the next call.
  virtual std::span<const WantedProbe> ChooseProbes() = 0;
  // Whether DraftingRow::confidence of this sequence, which must draft in this round, makes a
  // difference to ReviewDrafts. Otherwise it may be 0: to know it costs an exponential of each
  // logit and, where a device drafts, a wait for it.
  virtual bool NeedsConfidence(const Sequence& sequence) const = 0;
  // Between two micro-steps, after the `num_micro_steps`-th of the round. `rows` are those that may
  // draft further by their plan; the next micro-step runs for those that keep_drafting is left for.
  virtual void ReviewDrafts(int num_micro_steps, std::span<DraftingRow> rows) = 0;
  // Once a round for every row that drafted, before its tokens are sent.
  virtual void OnVerified(const DraftOutcome& outcome) = 0;
  // For the probes that came about, after all OnVerified.
  virtual void OnProbed(const ProbeOutcome& outcome) = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_DRAFTING_POLICY_H_
