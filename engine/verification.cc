#include "engine/verification.h"

#include <algorithm>
#include <cstddef>

namespace strata {
namespace {

// max(p - q, 0), normalised. Both supports ascend, so one pass merges them.
Distribution Residual(const Distribution& target, const Distribution& proposal) {
  Distribution residual;
  double total = 0;
  size_t j = 0;
  for (size_t i = 0; i < target.ids.size(); ++i) {
    while (j < proposal.ids.size() && proposal.ids[j] < target.ids[i]) ++j;
    const bool proposed = j < proposal.ids.size() && proposal.ids[j] == target.ids[i];
    const double excess = target.probs[i] - (proposed ? proposal.probs[j] : 0.0);
    if (excess <= 0) continue;
    residual.ids.push_back(target.ids[i]);
    residual.probs.push_back(excess);
    total += excess;
  }
  for (double& prob : residual.probs) prob /= total;
  return residual;
}

}  // namespace

Verdict VerifyDraft(const Distribution& target, const Distribution& proposal, TokenId draft,
                    UniformSource& uniforms) {
  const double p = target.Probability(draft);
  const double q = proposal.Probability(draft);
  if (uniforms.Next() * q < p) return {true, draft};
  const Distribution residual = Residual(target, proposal);
  // p <= q everywhere although the draft was rejected: p and q differ by rounding only.
  if (residual.ids.empty()) return {false, SampleFrom(target, uniforms.Next())};
  return {false, SampleFrom(residual, uniforms.Next())};
}

}  // namespace strata
