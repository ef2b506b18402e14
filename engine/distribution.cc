#include "engine/distribution.h"

#include <algorithm>
#include <cassert>

#include "engine/softmax.h"

namespace strata {

double Distribution::Probability(TokenId id) const {
  size_t i = static_cast<size_t>(id);
  if (!ids.empty()) {
    const auto it = std::lower_bound(ids.begin(), ids.end(), id);
    if (it == ids.end() || *it != id) return 0;
    i = static_cast<size_t>(it - ids.begin());
  }
  return i < weights.size() ? weights[i] / total : 0;
}

TokenId SampleFrom(const Distribution& distribution, double u) {
  assert(distribution.size() > 0);
  const std::span<const float> weights = distribution.weights;
  const double wanted = u * distribution.total;
  // Whole chunks are skipped by their sums, which take less time than a running sum.
  constexpr size_t kChunk = 256;
  double before = 0;
  size_t i = 0;
  while (weights.size() - i > kChunk) {
    const double after = before + SumOf(weights.subspan(i, kChunk));
    if (wanted < after) break;
    before = after;
    i += kChunk;
  }
  for (; i < weights.size(); ++i) {
    before += weights[i];
    if (wanted < before && weights[i] > 0) return distribution.IdAt(i);
  }
  // Rounding left the sum just below: the last token that can occur at all.
  while (i > 1 && !(weights[i - 1] > 0)) --i;
  return distribution.IdAt(i - 1);
}

}  // namespace strata
