#include "engine/speculation_policy.h"

#include <algorithm>

#include "engine/policy/draft_controller.h"

namespace strata {
namespace {

// Short drafts pay even where few are accepted; long ones only where most are.
constexpr int kDefaultDraftTokens = 2;

}  // namespace

SpeculationPolicy::SpeculationPolicy(int num_layers, const Options& options)
    : num_layers_(num_layers), options_(options), exit_layers_(CandidateExits(num_layers)) {
  const int own = options.exit_layer;
  const auto place = std::lower_bound(exit_layers_.begin(), exit_layers_.end(), own);
  if (own > 0 && (place == exit_layers_.end() || *place != own)) exit_layers_.insert(place, own);
}

Speculation SpeculationPolicy::default_fixed() const {
  Speculation fixed;
  fixed.mode = Speculation::Mode::kFixed;
  fixed.exit_layer = options_.exit_layer > 0 ? options_.exit_layer : std::max(1, num_layers_ / 8);
  if (num_layers_ < 2) return fixed;
  fixed.num_draft_tokens =
      std::min(options_.num_draft_tokens > 0 ? options_.num_draft_tokens : kDefaultDraftTokens,
               options_.max_draft_tokens);
  return fixed;
}

Speculation SpeculationPolicy::Resolve(const Speculation& requested) const {
  // Without a second layer there is none left to verify with.
  if (requested.mode == Speculation::Mode::kOff || num_layers_ < 2) return {};
  Speculation resolved = requested;
  if (requested.mode == Speculation::Mode::kAuto) {
    if (requested.num_draft_tokens == 0) resolved.num_draft_tokens = options_.max_draft_tokens;
    if (requested.exit_layers.empty()) resolved.exit_layers = exit_layers_;
    std::sort(resolved.exit_layers.begin(), resolved.exit_layers.end());
  }
  resolved.num_draft_tokens = std::min(resolved.num_draft_tokens, options_.max_draft_tokens);
  if (resolved.num_draft_tokens == 0) return {};
  return resolved;
}

}  // namespace strata
