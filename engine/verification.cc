#include "engine/verification.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "engine/softmax.h"

namespace strata {
namespace {

// The measure max(reach p - q, 0) over tokens.
class Excess {
 public:
  Excess(const Distribution& target, double reach, const Distribution& proposal)
      : target_(target),
        proposal_(proposal),
        target_scale_(reach / target.total),
        proposal_scale_(1 / proposal.total),
        shared_(target.SharesSupportWith(proposal)) {}

  double Mass() const {
    if (shared_) {
      return SumOfExcess(target_.weights, target_scale_, proposal_.weights, proposal_scale_);
    }
    double mass = 0;
    Find([&](TokenId, double excess) { return mass += excess, false; });
    return mass;
  }

  // The token at which the cumulative measure exceeds `wanted`; the last that has any if rounding
  // left that just above.
  TokenId At(double wanted) const {
    double cumulative = 0;
    TokenId found = 0;
    Find([&](TokenId id, double excess) {
      found = id;
      return (cumulative += excess) > wanted;
    });
    return found;
  }

 private:
  // Calls visit(id, excess) for tokens of positive excess, ascending, until it returns true.
  template <typename Visit>
  void Find(Visit visit) const {
    size_t j = 0;
    for (size_t i = 0; i < target_.size(); ++i) {
      const TokenId id = target_.IdAt(i);
      while (j < proposal_.size() && proposal_.IdAt(j) < id) ++j;
      const bool proposed = j < proposal_.size() && proposal_.IdAt(j) == id;
      const double q = proposed ? proposal_.weights[j] * proposal_scale_ : 0.0;
      const double excess = target_.weights[i] * target_scale_ - q;
      if (excess > 0 && visit(id, excess)) return;
    }
  }

  const Distribution& target_;
  const Distribution& proposal_;
  const double target_scale_;
  const double proposal_scale_;
  const bool shared_;
};

// Draws from max(reach p - q, 0), with a mass of `none` for no token.
std::optional<TokenId> DrawExcess(const Distribution& target, double reach,
                                  const Distribution& proposal, double none, double u) {
  const Excess excess(target, reach, proposal);
  const double mass = excess.Mass();
  const double wanted = u * (mass + none);
  if (mass <= 0 || (none > 0 && wanted >= mass)) return std::nullopt;
  return excess.At(wanted);
}

double Ratio(const Distribution& target, const Proposal& proposal) {
  return target.Probability(proposal.token) / proposal.distribution.Probability(proposal.token);
}

}  // namespace

bool BlockVerifier::AddRow(const Distribution& target, const Proposal* proposal,
                           UniformSource& uniforms) {
  return scheme_ == Verification::kBlock ? AddRowOfBlock(target, proposal, uniforms.Next())
                                         : AddRowByToken(target, proposal, uniforms);
}

bool BlockVerifier::AddRowOfBlock(const Distribution& target, const Proposal* proposal, double u) {
  if (proposal == nullptr) {
    if (u < reach_) Settle(SampleFrom(target, u / reach_));
    return false;
  }
  const std::optional<TokenId> token =
      DrawExcess(target, reach_, proposal->distribution, 1 - reach_, u);
  if (token) {
    Settle(*token);
  } else if (row_ == 0) {
    // The distributions differ by rounding at most, so that nothing is left to draw from.
    Settle(SampleFrom(target, u));
  }
  reach_ = std::min(1.0, reach_ * Ratio(target, *proposal));
  ++row_;
  return reach_ > 0;
}

bool BlockVerifier::AddRowByToken(const Distribution& target, const Proposal* proposal,
                                  UniformSource& uniforms) {
  if (proposal == nullptr) {
    Settle(SampleFrom(target, uniforms.Next()));
    return false;
  }
  if (uniforms.Next() < Ratio(target, *proposal)) {
    ++row_;
    return true;
  }
  const double u = uniforms.Next();
  const std::optional<TokenId> token = DrawExcess(target, 1, proposal->distribution, 0, u);
  // Nothing is left where the distributions differ by rounding only.
  Settle(token ? *token : SampleFrom(target, u));
  return false;
}

}  // namespace strata
