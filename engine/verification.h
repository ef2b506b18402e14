// Lossless verification of drafted tokens.

#ifndef STRATA_ENGINE_VERIFICATION_H_
#define STRATA_ENGINE_VERIFICATION_H_

#include "engine/random.h"
#include "engine/sampler.h"

namespace strata {

struct Verdict {
  bool accepted = false;
  TokenId token = 0;  // the draft if accepted, else its replacement
};

// Speculative sampling of one token (Leviathan et al., arXiv 2211.17192,
// algorithm 1): accepts `draft`, drawn from `q`, with probability min(1, p/q), else draws from
// the residual max(p - q, 0), normalised. The verdict's token is distributed as `p` exactly,
// whatever `q` is.
// `target` is p, `proposal` the very distribution that `draft` was drawn from.
// Takes one number from `uniforms`, and a second one on rejection.
Verdict VerifyDraft(const Distribution& target, const Distribution& proposal, TokenId draft,
                    UniformSource& uniforms);

}  // namespace strata

#endif  // STRATA_ENGINE_VERIFICATION_H_
