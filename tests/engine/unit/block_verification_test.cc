// Invariant I2 of block verification by exact enumeration over tiny vocabularies. It compares
// uniform numbers with products of probabilities, so its limits are found by bisection first.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "engine/verification.h"
#include "tests/engine/unit/random_language.h"

namespace strata {
namespace {

constexpr TokenId kNoToken = 1 << 20;  // after all tokens

// What one row does, with its probability.
struct RowOutcome {
  double probability = 0;
  BlockVerifier after{Verification::kBlock};
  bool goes_on = false;
};

// A row's outcome depends on one uniform number: with it come the tokens in ascending order, then
// none. So an interval with one outcome at both ends has it throughout, and bisection finds all.
class RowOutcomes {
 public:
  RowOutcomes(const BlockVerifier& before, int row, const Distribution& target,
              const Proposal* proposal)
      : before_(before), row_(row), target_(target), proposal_(proposal) {
    const double last = 1 - 0x1p-53;
    Split(0, Outcome(0), last, Outcome(last));
    outcomes_.back().probability = 1 - begin_;
  }
  const std::vector<RowOutcome>& outcomes() const { return outcomes_; }

 private:
  RowOutcome Outcome(double u) const {
    RowOutcome outcome{0, before_, false};
    FixedUniforms uniforms({u});
    outcome.goes_on = outcome.after.AddRow(target_, proposal_, uniforms);
    return outcome;
  }
  TokenId TokenOf(const RowOutcome& outcome) const {
    return outcome.after.num_accepted() == row_ ? outcome.after.token() : kNoToken;
  }
  void Split(double low, const RowOutcome& at_low, double high, const RowOutcome& at_high) {
    if (outcomes_.empty()) outcomes_.push_back(at_low);
    if (TokenOf(at_low) == TokenOf(at_high)) return;
    const double middle = low + (high - low) / 2;
    if (high - low < 0x1p-50) {
      outcomes_.back().probability = middle - begin_;
      begin_ = middle;
      outcomes_.push_back(at_high);
      return;
    }
    const RowOutcome at_middle = Outcome(middle);
    Split(low, at_low, middle, at_middle);
    Split(middle, at_middle, high, at_high);
  }

  const BlockVerifier& before_;
  const int row_;
  const Distribution target_;
  const Proposal* const proposal_;
  double begin_ = 0;  // of the newest outcome
  std::vector<RowOutcome> outcomes_;
};

// All that can come of one round whose drafts are verified together. Which blocks end early is
// drawn beforehand, by the drafts in them.
class VerifiedBlocks {
 public:
  VerifiedBlocks(const Language& target, const Language& draft, int num_tokens, int max_drafts,
                 std::set<Tokens> leaves)
      : target_(target),
        draft_(draft),
        num_tokens_(num_tokens),
        max_drafts_(max_drafts),
        leaves_(std::move(leaves)) {
    Explore({}, BlockVerifier(Verification::kBlock), 1);
  }

  // The probability of each text of max_drafts + 1 tokens is the target's, where the target goes on
  // after the round.
  void ExpectTargets() const {
    std::map<Tokens, double> texts;
    for (const auto& [text, probability] : emitted_) Continue(text, probability, texts);
    std::map<Tokens, double> expected;
    Continue({}, 1, expected);
    ASSERT_NEAR(Sum(texts), 1, 1e-9);
    for (const auto& [text, probability] : expected) {
      ASSERT_NEAR(texts[text], probability, 1e-9) << Print({text.begin(), text.end()});
    }
    for (const auto& [text, probability] : texts) {
      ASSERT_TRUE(expected.contains(text) || probability < 1e-9);
    }
  }

  // By count.
  double mean_accepted() const { return mean_accepted_; }
  // By the formula: the drafts that a block accepts are those that its reach gets to.
  double ReachSum() const { return AcceptedFrom({}, 1, 1, /*block=*/true); }
  // The same for drafts verified one by one.
  double TokenWiseSum() const { return AcceptedFrom({}, 1, 1, /*block=*/false); }

 private:
  bool Ends(const Tokens& drafts) const {
    return static_cast<int>(drafts.size()) == max_drafts_ || leaves_.contains(drafts);
  }

  void Explore(const Tokens& drafts, const BlockVerifier& verifier, double probability) {
    if (Ends(drafts)) {
      AddRow(drafts, nullptr, verifier, probability);
      return;
    }
    const Distribution q = draft_.next(drafts);
    for (size_t i = 0; i < q.size(); ++i) {
      const Proposal proposal{q.IdAt(i), q};
      if (q.weights[i] == 0) continue;
      AddRow(drafts, &proposal, verifier, probability * q.weights[i] / q.total);
    }
  }

  void AddRow(const Tokens& drafts, const Proposal* proposal, const BlockVerifier& verifier,
              double probability) {
    const RowOutcomes row(verifier, static_cast<int>(drafts.size()), target_.next(drafts),
                          proposal);
    Tokens longer = drafts;
    if (proposal != nullptr) longer.push_back(proposal->token);
    for (const RowOutcome& outcome : row.outcomes()) {
      const double joint = probability * outcome.probability;
      if (outcome.goes_on) {
        ASSERT_NE(proposal, nullptr);
        Explore(longer, outcome.after, joint);
        continue;
      }
      const int accepted = outcome.after.num_accepted();
      ASSERT_LE(accepted, static_cast<int>(drafts.size()));
      Tokens emitted(longer.begin(), longer.begin() + accepted);
      emitted.push_back(outcome.after.token());
      emitted_[emitted] += joint;
      mean_accepted_ += joint * accepted;
    }
  }

  void Continue(const Tokens& text, double probability, std::map<Tokens, double>& texts) const {
    if (probability == 0) return;
    if (static_cast<int>(text.size()) == max_drafts_ + 1) {
      texts[text] += probability;
      return;
    }
    for (TokenId id = 0; id < num_tokens_; ++id) {
      Tokens longer = text;
      longer.push_back(id);
      Continue(longer, probability * target_.next(text).Probability(id), texts);
    }
  }

  // The mean number of drafts accepted after `drafts`, which come with `probability`.
  double AcceptedFrom(const Tokens& drafts, double probability, double reach, bool block) const {
    if (Ends(drafts)) return 0;
    double sum = 0;
    for (TokenId id = 0; id < num_tokens_; ++id) {
      const double p = target_.next(drafts).Probability(id);
      const double q = draft_.next(drafts).Probability(id);
      if (q == 0) continue;
      const double longer_reach =
          block ? std::min(1.0, reach * p / q) : reach * std::min(1.0, p / q);
      Tokens longer = drafts;
      longer.push_back(id);
      sum += probability * q * longer_reach +
             AcceptedFrom(longer, probability * q, longer_reach, block);
    }
    return sum;
  }

  static double Sum(const std::map<Tokens, double>& texts) {
    double sum = 0;
    for (const auto& [text, probability] : texts) sum += probability;
    return sum;
  }

  const Language& target_;
  const Language& draft_;
  const int num_tokens_;
  const int max_drafts_;
  const std::set<Tokens> leaves_;
  std::map<Tokens, double> emitted_;
  double mean_accepted_ = 0;
};

// Some blocks of fewer than `max_drafts` drafts.
std::set<Tokens> RandomLeaves(std::mt19937_64& random, int num_tokens, int max_drafts) {
  std::set<Tokens> leaves;
  for (int i = 0; i < 3 * max_drafts; ++i) {
    Tokens drafts(random() % max_drafts);
    for (TokenId& id : drafts) id = static_cast<TokenId>(random() % num_tokens);
    // No draft at all would leave nothing to test.
    if (!drafts.empty()) leaves.insert(drafts);
  }
  return leaves;
}

class BlockVerification : public testing::TestWithParam<BlockCase> {};

TEST_P(BlockVerification, EmittedTokensAreTheTargetsOwnChain) {
  const BlockCase& param = GetParam();
  std::mt19937_64 random(11);
  int num_better = 0;
  for (int round = 0; round < param.num_languages; ++round) {
    SCOPED_TRACE(round);
    // Drafts from a part of the tokens, as truncation leaves it, or from all; of blocks of any
    // length, as stop tokens and policies make them, or of one.
    const bool dense = round % 3 == 0;
    const Language target(random, param.num_tokens, param.n, param.num_drafts, dense);
    const Language draft(random, param.num_tokens, param.n, param.num_drafts, dense);
    const VerifiedBlocks blocks(target, draft, param.num_tokens, param.num_drafts,
                                round % 2 == 0
                                    ? RandomLeaves(random, param.num_tokens, param.num_drafts)
                                    : std::set<Tokens>());
    ASSERT_NO_FATAL_FAILURE(blocks.ExpectTargets());
    ASSERT_NEAR(blocks.mean_accepted(), blocks.ReachSum(), 1e-9);
    ASSERT_GE(blocks.ReachSum(), blocks.TokenWiseSum() - 1e-12);
    num_better += blocks.ReachSum() > blocks.TokenWiseSum() + 1e-6;
  }
  if (param.num_drafts == 1) {
    EXPECT_EQ(num_better, 0) << "one draft is verified as token by token";
  } else {
    EXPECT_GT(num_better, param.num_languages / 4);
  }
}

INSTANTIATE_TEST_SUITE_P(Exactly, BlockVerification,
                         testing::Values(BlockCase{"K1", 1, 5, 7, 200},
                                         BlockCase{"K2", 2, 4, 6, 300},
                                         BlockCase{"K3", 3, 3, 5, 300},
                                         BlockCase{"K4", 4, 3, 4, 60},
                                         BlockCase{"K4_TwoTokens", 4, 2, 7, 200}),
                         [](const auto& info) { return info.param.name; });

// Of distributions over so many tokens that sums go by chunks, both as a list and over all tokens.
TEST(BlockVerification, ManyTokensGiveTheSameVerdictInEitherForm) {
  std::mt19937_64 random(13);
  for (int round = 0; round < 300; ++round) {
    const int num_tokens = 200 + static_cast<int>(random() % 800);
    const Weights p = RandomWeights(random, num_tokens, 700),
                  q = RandomWeights(random, num_tokens, 700);
    const Probabilities sparse_p(p), sparse_q(q), dense_p(p, true), dense_q(q, true);
    CounterRng sparse_uniforms(round), dense_uniforms(round);
    const TokenId first = SampleFrom(sparse_q.view(), sparse_uniforms.Next());
    ASSERT_EQ(SampleFrom(dense_q.view(), dense_uniforms.Next()), first);
    for (const Verification scheme : {Verification::kBlock, Verification::kToken}) {
      const Proposal sparse{first, sparse_q.view()}, dense{first, dense_q.view()};
      BlockVerifier one(scheme), other(scheme);
      const bool goes_on = one.AddRow(sparse_p.view(), &sparse, sparse_uniforms);
      ASSERT_EQ(other.AddRow(dense_p.view(), &dense, dense_uniforms), goes_on);
      if (goes_on) {
        ASSERT_FALSE(one.AddRow(sparse_p.view(), nullptr, sparse_uniforms));
        ASSERT_FALSE(other.AddRow(dense_p.view(), nullptr, dense_uniforms));
      }
      ASSERT_EQ(one.num_accepted(), other.num_accepted());
      ASSERT_EQ(one.token(), other.token());
      ASSERT_GT(p[one.token()], 0);
    }
  }
}

// A draft that the target cannot generate ends the block, whatever comes after it.
TEST(BlockVerification, NothingIsReadAfterAnImpossibleDraft) {
  const Probabilities p({1, 1, 0}), q({0, 1, 1});
  BlockVerifier verifier(Verification::kBlock);
  FixedUniforms uniforms({0.3});
  const Proposal proposal{2, q.view()};
  EXPECT_FALSE(verifier.AddRow(p.view(), &proposal, uniforms));
  EXPECT_EQ(verifier.num_accepted(), 0);
  EXPECT_EQ(verifier.token(), 0);
}

}  // namespace
}  // namespace strata
