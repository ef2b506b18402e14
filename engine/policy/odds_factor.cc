#include "engine/policy/odds_factor.h"

#include <algorithm>
#include <cmath>

namespace strata {

void LearnOutcome(double chance, double outcome, std::initializer_list<OddsPart> parts) {
  const double information = chance * (1 - chance);  // of one outcome, about the logarithm
  double total = 1 / information;
  for (const OddsPart& part : parts) total += part.factor->variance;
  for (const OddsPart& part : parts) {
    OddsFactor& factor = *part.factor;
    const double share = factor.variance / total;
    const double odds = factor.odds * std::exp(share * (outcome - chance) / information);
    factor.odds = std::clamp(static_cast<float>(odds), 1 / OddsFactor::kMax, OddsFactor::kMax);
    factor.variance =
        std::min(part.prior->variance,
                 static_cast<float>(factor.variance * (1 - share)) + part.prior->drift);
  }
}

}  // namespace strata
