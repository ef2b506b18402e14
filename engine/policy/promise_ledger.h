// How much of what a plan promised has come true.

#ifndef STRATA_ENGINE_POLICY_PROMISE_LEDGER_H_
#define STRATA_ENGINE_POLICY_PROMISE_LEDGER_H_

namespace strata {

// Of one kind of rounds. The amounts are tokens for each row that a round had, so that a round
// counts as much as another.
class PromiseLedger {
 public:
  void Add(double tokens, double promised) {
    tokens_ = kKept * tokens_ + tokens;
    promised_ = kKept * promised_ + promised;
  }
  // Another round has passed, of another kind: in time the plan is given a new chance.
  void Forget() { Add(0, 0); }

  // Tokens over those that were promised; near 1 where little is known.
  double truth() const { return (tokens_ + kPrior) / (promised_ + kPrior); }

 private:
  static constexpr double kKept = 0.995;
  static constexpr double kPrior = 64;

  double tokens_ = 0, promised_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_PROMISE_LEDGER_H_
