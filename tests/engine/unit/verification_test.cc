// Invariant I2 by exact enumeration: over a tiny vocabulary, all uniform
// numbers that can make a difference are tried, so the probabilities of
// outcomes are counts that must equal the target's exactly.

#include "engine/verification.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <ostream>
#include <random>
#include <string>
#include <vector>

namespace strata {
namespace {

// Probabilities in units of 1/N, per token.
using Weights = std::vector<int64_t>;

Distribution ToDistribution(const Weights& weights) {
  const int64_t total = std::accumulate(weights.begin(), weights.end(), int64_t{0});
  Distribution distribution;
  for (size_t id = 0; id < weights.size(); ++id) {
    // Tokens without mass are left out of a truncated support.
    if (weights[id] == 0) continue;
    distribution.ids.push_back(static_cast<TokenId>(id));
    distribution.probs.push_back(static_cast<double>(weights[id]) / static_cast<double>(total));
  }
  return distribution;
}

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

// Draws a draft from q and verifies it against p; the outcome must be distributed as p.
void ExpectOutcomeIsTheTargets(const Weights& p, const Weights& q, int n) {
  const Distribution target = ToDistribution(p), proposal = ToDistribution(q);
  EnumeratedUniforms uniforms(n);
  constexpr int kMostCalls = 3;  // draft, acceptance, residual
  Weights counts(p.size(), 0);
  int64_t accepted = 0;
  do {
    const TokenId draft = SampleFrom(proposal, uniforms.Next());
    const Verdict verdict = VerifyDraft(target, proposal, draft, uniforms);
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

// Distributions differ by rounding only, so nothing is left to replace the draft from.
TEST(VerifyDraft, WhereNothingIsLeftOfTheTargetTheReplacementIsTheTargets) {
  class Fixed final : public UniformSource {
   public:
    double Next() override { return first_ ? (first_ = false, 1 - 0x1p-53) : 0.4; }

   private:
    bool first_ = true;
  };
  const double less = 1 - 0x1p-52;
  const Distribution target{{3, 7}, {0.5 * less, 0.5 * less}}, proposal{{3, 7}, {0.5, 0.5}};
  Fixed uniforms;
  const Verdict verdict = VerifyDraft(target, proposal, 7, uniforms);
  EXPECT_FALSE(verdict.accepted);
  EXPECT_EQ(verdict.token, 3);
}

// ---- Blocks ----------------------------------------------------------------------------------

using Tokens = std::vector<TokenId>;

// A random language over a tiny vocabulary: a distribution for each text up to a length.
class Language {
 public:
  Language(std::mt19937_64& random, int num_tokens, int n, int max_length) {
    Fill(random, {}, num_tokens, n, max_length);
  }
  const Weights& weights(const Tokens& text) const { return weights_.at(text); }
  const Distribution& next(const Tokens& text) const { return distributions_.at(text); }

 private:
  void Fill(std::mt19937_64& random, const Tokens& text, int num_tokens, int n, int max_length) {
    weights_[text] = RandomWeights(random, num_tokens, n);
    distributions_[text] = ToDistribution(weights_[text]);
    if (static_cast<int>(text.size()) == max_length) return;
    for (TokenId id = 0; id < num_tokens; ++id) {
      Tokens longer = text;
      longer.push_back(id);
      Fill(random, longer, num_tokens, n, max_length);
    }
  }

  std::map<Tokens, Weights> weights_;
  std::map<Tokens, Distribution> distributions_;
};

// One round, as RoundExecutor does it: drafts each token after those before it, verifies in order,
// and adds one token of the target's own.
Tokens EmitBlock(const Language& target, const Language& draft, int num_drafts,
                 UniformSource& uniforms) {
  Tokens drafts;
  std::vector<Distribution> proposals;
  while (static_cast<int>(drafts.size()) < num_drafts) {
    proposals.push_back(draft.next(drafts));
    drafts.push_back(SampleFrom(proposals.back(), uniforms.Next()));
  }
  Tokens emitted;
  for (size_t i = 0; i < drafts.size(); ++i) {
    const Verdict verdict = VerifyDraft(target.next(emitted), proposals[i], drafts[i], uniforms);
    emitted.push_back(verdict.token);
    if (!verdict.accepted) return emitted;
  }
  emitted.push_back(SampleFrom(target.next(emitted), uniforms.Next()));
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

}  // namespace
}  // namespace strata
