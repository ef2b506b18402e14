// What a chance is made of: factors of its odds, which learn together from what happens.
//
// A logistic model of independent Gaussian logarithms, updated outcome by outcome, as adPredictor
// does it (Graepel, Candela, Borchert and Herbrich, ICML 2010), with the logistic function made
// linear where it stands instead of a probit.

#ifndef STRATA_ENGINE_POLICY_ODDS_FACTOR_H_
#define STRATA_ENGINE_POLICY_ODDS_FACTOR_H_

#include <initializer_list>

namespace strata {

// p with its odds multiplied.
inline double WithOdds(double p, double odds) { return p * odds / (1 - p + p * odds); }

// What is known of a kind of factors before any outcome.
struct OddsPrior {
  float variance = 0;  // of a factor's logarithm
  float drift = 0;     // by how much more an outcome of today may tell than those before it
};

struct OddsFactor {
  static constexpr float kMax = 1e4f;

  float odds = 1;      // in [1 / kMax, kMax]
  float variance = 0;  // of its logarithm, at most the prior's

  friend bool operator==(const OddsFactor&, const OddsFactor&) = default;
};

struct OddsPart {
  OddsFactor* factor;
  const OddsPrior* prior;
};

// What had the probability `chance`, in (0, 1), by all `parts` together, came (1), or not (0), or
// would have come with some probability. The surprise is shared by how uncertain each part is: what
// one takes, the others need not.
void LearnOutcome(double chance, double outcome, std::initializer_list<OddsPart> parts);

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_ODDS_FACTOR_H_
