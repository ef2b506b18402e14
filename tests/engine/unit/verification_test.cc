// Invariant I2 of token-wise verification by exact enumeration over tiny vocabularies: all uniform
// numbers that can make a difference are tried, so the probabilities of outcomes are counts that
// must equal the target's exactly.

#include "engine/verification.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tests/engine/unit/random_language.h"

namespace strata {
namespace {

int64_t Power(int64_t base, int exponent) {
  int64_t power = 1;
  for (int i = 0; i < exponent; ++i) power *= base;
  return power;
}

// Goes through all sequences of midpoints (i + 0.5) / M that the code under test asks for. With
// probabilities that are multiples of 1/N and M = lcm(1 .. N), every comparison that sampling and
// verification make has its limit at a multiple of 1/M: a midpoint stands for its whole interval.
class EnumeratedUniforms final : public UniformSource {
 public:
  explicit EnumeratedUniforms(int max_denominator) {
    for (int i = 1; i <= max_denominator; ++i) m_ = std::lcm(m_, i);
  }

  double Next() override {
    if (used_ == digits_.size()) digits_.push_back(0);
    return (static_cast<double>(digits_[used_++]) + 0.5) / static_cast<double>(m_);
  }

  // How many numbers the run has taken.
  int num_used() const { return static_cast<int>(used_); }
  int64_t m() const { return m_; }

  // Prepares the next run; false if all have been done.
  bool Advance() {
    digits_.resize(used_);
    used_ = 0;
    while (!digits_.empty() && ++digits_.back() == m_) digits_.pop_back();
    return !digits_.empty();
  }

 private:
  int64_t m_ = 1;
  std::vector<int64_t> digits_;
  size_t used_ = 0;
};

// All distributions over `num_tokens` tokens in units of 1/n.
std::vector<Weights> AllWeights(int num_tokens, int n) {
  if (num_tokens == 1) return {{n}};
  std::vector<Weights> all;
  for (int first = 0; first <= n; ++first) {
    for (const Weights& rest : AllWeights(num_tokens - 1, n - first)) {
      all.push_back({first});
      all.back().insert(all.back().end(), rest.begin(), rest.end());
    }
  }
  return all;
}

struct TokenVerdict {
  bool accepted = false;
  TokenId token = 0;
};

TokenVerdict VerifyToken(const Distribution& target, const Proposal& proposal,
                         UniformSource& uniforms) {
  BlockVerifier verifier(Verification::kToken);
  if (verifier.AddRow(target, &proposal, uniforms)) return {true, proposal.token};
  EXPECT_EQ(verifier.num_accepted(), 0);
  return {false, verifier.token()};
}

// Draws a draft from q and verifies it against p; the outcome must be distributed as p.
void ExpectOutcomeIsTheTargets(const Weights& p, const Weights& q, int n) {
  const Probabilities target(p), proposal(q);
  EnumeratedUniforms uniforms(n);
  constexpr int kMostCalls = 3;  // draft, acceptance, residual
  Weights counts(p.size(), 0);
  int64_t accepted = 0;
  do {
    const TokenId draft = SampleFrom(proposal.view(), uniforms.Next());
    const TokenVerdict verdict = VerifyToken(target.view(), {draft, proposal.view()}, uniforms);
    const int64_t weight = Power(uniforms.m(), kMostCalls - uniforms.num_used());
    counts[verdict.token] += weight;
    if (!verdict.accepted) continue;
    ASSERT_EQ(verdict.token, draft);
    accepted += weight;
  } while (uniforms.Advance());
  const int64_t total = Power(uniforms.m(), kMostCalls);
  int64_t overlap = 0;
  for (size_t id = 0; id < p.size(); ++id) {
    ASSERT_EQ(counts[id] * n, p[id] * total) << "token " << id;
    overlap += std::min(p[id], q[id]);
  }
  // Nothing can accept more often (Leviathan et al., theorem 3.5).
  ASSERT_EQ(accepted * n, overlap * total);
}

TEST(VerifyDraft, OutcomeIsTheTargetsForAllDistributionsOfThreeTokens) {
  for (const int n : {1, 2, 3, 4}) {
    for (const Weights& p : AllWeights(3, n)) {
      for (const Weights& q : AllWeights(3, n)) {
        SCOPED_TRACE("p " + Print(p) + "q " + Print(q));
        ASSERT_NO_FATAL_FAILURE(ExpectOutcomeIsTheTargets(p, q, n));
      }
    }
  }
}

TEST(VerifyDraft, OutcomeIsTheTargetsForRandomDistributionsOfFourTokens) {
  std::mt19937_64 random(1);
  for (const int n : {5, 6}) {
    for (int round = 0; round < 40; ++round) {
      const Weights p = RandomWeights(random, 4, n), q = RandomWeights(random, 4, n);
      SCOPED_TRACE("p " + Print(p) + "q " + Print(q));
      ASSERT_NO_FATAL_FAILURE(ExpectOutcomeIsTheTargets(p, q, n));
    }
  }
}

// Distributions differ by rounding only, so nothing is left to replace the draft from.
TEST(VerifyDraft, WhereNothingIsLeftOfTheTargetTheReplacementIsTheTargets) {
  const double more = 1 + 0x1p-52;
  const std::vector<TokenId> ids = {3, 7};
  const std::vector<float> weights = {0.5f, 0.5f};
  const Distribution target{ids, weights, more}, proposal{ids, weights, 1};
  FixedUniforms by_token({1 - 0x1p-53, 0.4});
  const TokenVerdict verdict = VerifyToken(target, {7, proposal}, by_token);
  EXPECT_FALSE(verdict.accepted);
  EXPECT_EQ(verdict.token, 3);
  // As a block: the first row gives a token in any case, for the last row may give none.
  BlockVerifier block(Verification::kBlock);
  const Proposal proposed{7, proposal};
  FixedUniforms numbers({0.4, 1 - 0x1p-53});
  EXPECT_TRUE(block.AddRow(target, &proposed, numbers));
  EXPECT_FALSE(block.AddRow(target, nullptr, numbers));
  EXPECT_EQ(block.num_accepted(), 0);
  EXPECT_EQ(block.token(), 3);
}

// ---- Blocks ----------------------------------------------------------------------------------

// One round, as RoundExecutor does it: drafts each token after those before it, verifies in order,
// and adds one token of the target's own.
Tokens EmitBlock(const Language& target, const Language& draft, int num_drafts,
                 UniformSource& uniforms) {
  Tokens drafts;
  while (static_cast<int>(drafts.size()) < num_drafts) {
    drafts.push_back(SampleFrom(draft.next(drafts), uniforms.Next()));
  }
  BlockVerifier verifier(Verification::kToken);
  Tokens before;
  for (bool goes_on = true; goes_on;) {
    const Distribution p = target.next(before);
    if (before.size() == drafts.size()) {
      goes_on = verifier.AddRow(p, nullptr, uniforms);
    } else {
      const Proposal proposal{drafts[before.size()], draft.next(before)};
      goes_on = verifier.AddRow(p, &proposal, uniforms);
      before.push_back(proposal.token);
    }
  }
  Tokens emitted(drafts.begin(), drafts.begin() + verifier.num_accepted());
  emitted.push_back(verifier.token());
  return emitted;
}

class BlockCounts {
 public:
  BlockCounts(const Language& target, int num_tokens, int n, int length)
      : target_(target), num_tokens_(num_tokens), n_(n), length_(length) {}

  // Counts `weight` for `text`, continued by the target up to the full length: every text of that
  // length gets its share of weight * n^(length - 1).
  void Add(const Tokens& text, int64_t weight) {
    Spread(text, weight * Power(n_, static_cast<int>(text.size()) - 1));
  }

  // The count of each text is the target's probability of it.
  void ExpectTargets(int64_t total_weight) const { ExpectTargets({}, 1, total_weight); }

 private:
  void Spread(const Tokens& text, int64_t weight) {
    if (weight == 0) return;
    if (static_cast<int>(text.size()) == length_) {
      counts_[text] += weight;
      return;
    }
    for (TokenId id = 0; id < num_tokens_; ++id) {
      Tokens longer = text;
      longer.push_back(id);
      Spread(longer, weight * target_.weights(text)[id]);
    }
  }

  void ExpectTargets(const Tokens& text, int64_t weight, int64_t total) const {
    if (static_cast<int>(text.size()) == length_) {
      const auto it = counts_.find(text);
      const int64_t count = it == counts_.end() ? 0 : it->second;
      // count / (total * n^(length - 1)) == weight / n^length
      ASSERT_EQ(count * n_, weight * total) << Print({text.begin(), text.end()});
      return;
    }
    for (TokenId id = 0; id < num_tokens_; ++id) {
      Tokens longer = text;
      longer.push_back(id);
      ASSERT_NO_FATAL_FAILURE(ExpectTargets(longer, weight * target_.weights(text)[id], total));
    }
  }

  const Language& target_;
  const int num_tokens_, n_, length_;
  std::map<Tokens, int64_t> counts_;
};

class Blocks : public testing::TestWithParam<BlockCase> {};

TEST_P(Blocks, EmittedTokensAreTheTargetsOwnChain) {
  const BlockCase& param = GetParam();
  const int length = param.num_drafts + 1;
  const int most_calls = 2 * param.num_drafts + 1;  // drafts, verdicts, and one more
  std::mt19937_64 random(7);
  for (int round = 0; round < param.num_languages; ++round) {
    const Language target(random, param.num_tokens, param.n, length - 1);
    const Language draft(random, param.num_tokens, param.n, length - 1);
    BlockCounts counts(target, param.num_tokens, param.n, length);
    EnumeratedUniforms uniforms(param.n);
    do {
      const Tokens emitted = EmitBlock(target, draft, param.num_drafts, uniforms);
      counts.Add(emitted, Power(uniforms.m(), most_calls - uniforms.num_used()));
    } while (uniforms.Advance());
    ASSERT_NO_FATAL_FAILURE(counts.ExpectTargets(Power(uniforms.m(), most_calls)));
  }
}

INSTANTIATE_TEST_SUITE_P(Exactly, Blocks,
                         testing::Values(BlockCase{"K1_N6", 1, 4, 6, 10},
                                         BlockCase{"K2_N4", 2, 3, 4, 5},
                                         BlockCase{"K3_N3", 3, 3, 3, 5}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace strata
