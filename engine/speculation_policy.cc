#include "engine/speculation_policy.h"

#include <algorithm>
#include <cstdlib>

namespace strata {
namespace {

// Short drafts pay even where few are accepted; long ones only where most are.
constexpr int kDefaultDraftTokens = 2;

}  // namespace

SpeculationPolicy::SpeculationPolicy(int num_layers, int exit_layer, int num_draft_tokens)
    : exit_layer_(exit_layer > 0 ? exit_layer : std::max(1, num_layers / 8)),
      num_draft_tokens_(num_layers < 2         ? 0  // no layer left to verify with
                        : num_draft_tokens > 0 ? num_draft_tokens
                                               : kDefaultDraftTokens) {}

Speculation SpeculationPolicy::Resolve(const Speculation& requested) const {
  Speculation resolved = requested;
  if (requested.mode == Speculation::Mode::kAuto) {
    resolved.exit_layer = exit_layer_;
    // Among the candidates, the one nearest to the default.
    if (!requested.exit_layers.empty()) {
      resolved.exit_layer = *std::min_element(
          requested.exit_layers.begin(), requested.exit_layers.end(),
          [this](int a, int b) { return std::abs(a - exit_layer_) < std::abs(b - exit_layer_); });
    }
    resolved.num_draft_tokens = requested.num_draft_tokens > 0
                                    ? std::min(requested.num_draft_tokens, num_draft_tokens_)
                                    : num_draft_tokens_;
  }
  if (resolved.mode == Speculation::Mode::kOff || resolved.num_draft_tokens == 0) return {};
  return resolved;
}

}  // namespace strata
