// Which exit layer and draft length a request speculates with.

#ifndef STRATA_ENGINE_SPECULATION_POLICY_H_
#define STRATA_ENGINE_SPECULATION_POLICY_H_

#include "engine/request.h"

namespace strata {

// Immutable; safe to use from several threads.
class SpeculationPolicy {
 public:
  // `exit_layer` and `num_draft_tokens` are what kAuto resolves to; 0: the exit at an eighth of the
  // checkpoint's depth (LayerSkip trains its checkpoints to exit there: layer 4 of 32, 10 of 80),
  // and 2 drafts.
  SpeculationPolicy(int num_layers, int exit_layer, int num_draft_tokens);

  // The request's speculation in definite numbers: kOff, or its mode with exit_layer and
  // num_draft_tokens set.
  Speculation Resolve(const Speculation& requested) const;

 private:
  const int exit_layer_;
  const int num_draft_tokens_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_SPECULATION_POLICY_H_
