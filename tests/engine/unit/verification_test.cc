// Invariant I2 by exact enumeration over tiny vocabularies. Token-wise verification: all uniform
// numbers that can make a difference are tried, so the probabilities of outcomes are counts that
// must equal the target's exactly. Block verification compares them with products, so its limits
// are found by bisection first.

#include "engine/verification.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace strata {
namespace {

// Probabilities in units of 1/N, per token.
using Weights = std::vector<int64_t>;

// A distribution with its memory.
class Probabilities {
 public:
  // Tokens without mass are left out of a truncated support. `dense`: over all tokens, with weights
  // of zero.
  explicit Probabilities(const Weights& weights, bool dense = false) {
    for (size_t id = 0; id < weights.size(); ++id) {
      total_ += static_cast<double>(weights[id]);
      if (weights[id] == 0 && !dense) continue;
      if (!dense) ids_.push_back(static_cast<TokenId>(id));
      weights_.push_back(static_cast<float>(weights[id]));
    }
  }
  Distribution view() const { return {ids_, weights_, total_}; }

 private:
  std::vector<TokenId> ids_;
  std::vector<float> weights_;
  double total_ = 0;
};

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

std::string Print(const Weights& weights) {
  std::string text;
  for (const int64_t weight : weights) text += std::to_string(weight) + " ";
  return text;
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

Weights RandomWeights(std::mt19937_64& random, int num_tokens, int n) {
  Weights weights(num_tokens, 0);
  for (int i = 0; i < n; ++i) ++weights[random() % num_tokens];
  return weights;
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

class FixedUniforms final : public UniformSource {
 public:
  explicit FixedUniforms(std::vector<double> numbers) : numbers_(std::move(numbers)) {}
  double Next() override { return numbers_.at(used_++); }

 private:
  const std::vector<double> numbers_;
  size_t used_ = 0;
};

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

using Tokens = std::vector<TokenId>;

// A random language over a tiny vocabulary: a distribution for each text up to a length.
class Language {
 public:
  Language(std::mt19937_64& random, int num_tokens, int n, int max_length, bool dense = false) {
    Fill(random, {}, num_tokens, n, max_length, dense);
  }
  const Weights& weights(const Tokens& text) const { return weights_.at(text); }
  Distribution next(const Tokens& text) const { return distributions_.at(text).view(); }

 private:
  void Fill(std::mt19937_64& random, const Tokens& text, int num_tokens, int n, int max_length,
            bool dense) {
    weights_[text] = RandomWeights(random, num_tokens, n);
    distributions_.emplace(text, Probabilities(weights_[text], dense));
    if (static_cast<int>(text.size()) == max_length) return;
    for (TokenId id = 0; id < num_tokens; ++id) {
      Tokens longer = text;
      longer.push_back(id);
      Fill(random, longer, num_tokens, n, max_length, dense);
    }
  }

  std::map<Tokens, Weights> weights_;
  std::map<Tokens, Probabilities> distributions_;
};

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

struct BlockCase {
  std::string name;
  int num_drafts = 0;
  int num_tokens = 0;
  int n = 0;
  int num_languages = 0;
};
void PrintTo(const BlockCase& block, std::ostream* out) { *out << block.name; }

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

// ---- Blocks verified together ------------------------------------------------------------------

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
