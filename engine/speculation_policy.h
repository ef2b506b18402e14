// What a request's wish for speculation comes to on this server.

#ifndef STRATA_ENGINE_SPECULATION_POLICY_H_
#define STRATA_ENGINE_SPECULATION_POLICY_H_

#include <vector>

#include "engine/request.h"
#include "engine/request_validation.h"

namespace strata {

// Immutable; safe to use from several threads.
class SpeculationPolicy {
 public:
  struct Options {
    // What kFixed means where nobody says. 0: the exit at an eighth of the depth (LayerSkip trains
    // its checkpoints to exit there: layer 4 of 32, 10 of 80), and 2 drafts.
    int exit_layer = 0;
    int num_draft_tokens = 0;
    int max_draft_tokens = kMaxDraftTokens;  // of any request in any round
  };
  SpeculationPolicy(int num_layers, const Options& options);

  // The request's speculation in definite numbers: kOff; kFixed; or kAuto with the exit layers that
  // it chooses from, ascending, and the most that it may draft.
  Speculation Resolve(const Speculation& requested) const;

  Speculation default_fixed() const;
  // Candidates where a request names none, ascending.
  const std::vector<int>& exit_layers() const { return exit_layers_; }

 private:
  const int num_layers_;
  const Options options_;
  std::vector<int> exit_layers_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_SPECULATION_POLICY_H_
