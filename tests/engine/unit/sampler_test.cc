// The sampler against slow, straightforward double-precision references.

#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "engine/random.h"
#include "engine/softmax.h"
#include "tests/engine/unit/chi_square.h"

namespace strata {
namespace {

using testing::ElementsAre;

std::vector<float> RandomLogits(std::mt19937_64& random, int vocab_size, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(vocab_size);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// A distribution of its own, as probabilities.
struct Probabilities {
  std::vector<TokenId> ids;
  std::vector<double> probs;

  double Of(TokenId id) const {
    const auto it = std::find(ids.begin(), ids.end(), id);
    return it == ids.end() ? 0 : probs[it - ids.begin()];
  }
};

// A Sampler with memory, which takes logits as vectors.
class TestSampler {
 public:
  TestSampler(const SamplingParams& params, int sample_index, std::span<const TokenId> prompt)
      : sampler_(params, sample_index, prompt) {}

  Sampler::Mode mode() const { return sampler_.mode(); }
  void Push(TokenId id) { sampler_.Push(id); }
  void Pop(TokenId id) { sampler_.Pop(id); }
  TokenId Choose(const std::vector<float>& logits, int64_t position,
                 const std::vector<TokenId>& ids = {}) {
    return sampler_.Choose(Logits(logits, ids), position, scratch_);
  }
  Probabilities Warp(const std::vector<float>& logits, const std::vector<TokenId>& ids = {}) {
    const Distribution warped = sampler_.Warp(Logits(logits, ids), scratch_);
    Probabilities result;
    for (size_t i = 0; i < warped.size(); ++i) {
      result.ids.push_back(warped.IdAt(i));
      result.probs.push_back(warped.weights[i] / warped.total);
      EXPECT_EQ(warped.Probability(result.ids[i]), result.probs[i]);
    }
    return result;
  }

 private:
  Sampler sampler_;
  SamplerScratch scratch_;
};

// ---- Reference -------------------------------------------------------------------------------

std::vector<double> ReferenceProcess(const SamplingParams& params, const std::vector<float>& logits,
                                     const std::vector<TokenId>& prompt,
                                     const std::vector<TokenId>& generated) {
  std::vector<double> processed(logits.begin(), logits.end());
  for (const auto& [id, bias] : params.logit_bias) processed[id] += bias;
  for (size_t id = 0; id < processed.size(); ++id) {
    const auto is_id = [id](TokenId other) { return other == static_cast<TokenId>(id); };
    const auto in_prompt = std::count_if(prompt.begin(), prompt.end(), is_id);
    const auto in_output = std::count_if(generated.begin(), generated.end(), is_id);
    double& logit = processed[id];
    if (in_prompt + in_output > 0) {
      logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    }
    if (in_output > 0) {
      logit -= params.presence_penalty;
      logit -= static_cast<double>(params.frequency_penalty) * static_cast<double>(in_output);
    }
  }
  return processed;
}

std::vector<double> Softmax(const std::vector<double>& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> probs;
  for (const double logit : logits) probs.push_back(std::exp(logit - largest));
  const double total = std::accumulate(probs.begin(), probs.end(), 0.0);
  for (double& prob : probs) prob /= total;
  return probs;
}

// Probability of each token that is left; the order of truncation is that of SamplingParams.
std::map<TokenId, double> ReferenceWarp(const SamplingParams& params, std::vector<double> logits) {
  for (double& logit : logits) logit /= params.temperature;
  const std::vector<double> probs = Softmax(logits);
  std::vector<TokenId> order(probs.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](TokenId a, TokenId b) { return probs[a] > probs[b]; });
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < order.size()) {
    order.resize(params.top_k);
  }
  if (params.top_p < 1) {
    double kept = 0;
    for (const TokenId id : order) kept += probs[id];
    double mass = 0;
    size_t count = 0;
    while (count < order.size() && mass < params.top_p * kept) mass += probs[order[count++]];
    order.resize(count);
  }
  const double largest = probs[order.front()];
  std::erase_if(order, [&](TokenId id) { return probs[id] < params.min_p * largest; });
  double total = 0;
  for (const TokenId id : order) total += probs[id];
  std::map<TokenId, double> left;
  for (const TokenId id : order) left[id] = probs[id] / total;
  return left;
}

void ExpectDistribution(const Probabilities& actual, const std::map<TokenId, double>& expected) {
  EXPECT_TRUE(std::is_sorted(actual.ids.begin(), actual.ids.end()));
  ASSERT_EQ(actual.ids.size(), actual.probs.size());
  EXPECT_NEAR(std::accumulate(actual.probs.begin(), actual.probs.end(), 0.0), 1, 1e-12);
  std::vector<TokenId> expected_ids;
  for (const auto& [id, prob] : expected) expected_ids.push_back(id);
  ASSERT_EQ(actual.ids, expected_ids);
  for (const auto& [id, prob] : expected) {
    // A scaled f32 logit of up to 100 is off by 100 * 2^-24, its weight by as much relatively.
    EXPECT_NEAR(actual.Of(id), prob, 2e-5 * prob) << "token " << id;
  }
}

// ---- Greedy ----------------------------------------------------------------------------------

SamplingParams Greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowestOfEquals) {
  TestSampler sampler(Greedy(), 0, {});
  EXPECT_EQ(sampler.mode(), Sampler::Mode::kGreedy);
  EXPECT_EQ(sampler.Choose(std::vector<float>{-3, -1, -2}, 0), 1);
  EXPECT_EQ(sampler.Choose(std::vector<float>{1, 5, 5, 2, 5}, 0), 1);
  EXPECT_EQ(sampler.Choose(std::vector<float>{0, 0, 0}, 0), 0);
}

TEST(Sampler, GreedyIgnoresTruncation) {
  SamplingParams params = Greedy();
  params.top_k = 1;
  params.top_p = 0.1f;
  params.min_p = 1;
  TestSampler sampler(params, 0, {});
  EXPECT_EQ(sampler.Choose(std::vector<float>{1, 5, 5, 2}, 0), 1);
}

TEST(Sampler, GreedyWarpIsOneTokensMass) {
  TestSampler sampler(Greedy(), 0, {});
  const Probabilities warped = sampler.Warp(std::vector<float>{1, 5, 5, 2});
  EXPECT_THAT(warped.ids, ElementsAre(1));
  EXPECT_THAT(warped.probs, ElementsAre(1.0));
}

TEST(Sampler, ModeIsUnseededOnlyWithTemperatureAndWithoutSeed) {
  SamplingParams params;
  EXPECT_EQ(TestSampler(params, 0, {}).mode(), Sampler::Mode::kUnseeded);
  params.seed = 0;
  EXPECT_EQ(TestSampler(params, 0, {}).mode(), Sampler::Mode::kSeeded);
  params.temperature = 0;
  EXPECT_EQ(TestSampler(params, 0, {}).mode(), Sampler::Mode::kGreedy);
}

// ---- Bias and penalties ----------------------------------------------------------------------

TEST(Sampler, BiasIsAddedToTheLogit) {
  SamplingParams params = Greedy();
  params.logit_bias = {{0, 2.5f}, {2, -10.0f}};
  TestSampler sampler(params, 0, {});
  EXPECT_EQ(sampler.Choose(std::vector<float>{1, 3, 9}, 0), 0);
  EXPECT_EQ(sampler.Choose(std::vector<float>{1, 4, 9}, 0), 1);
}

TEST(Sampler, RepetitionPenaltyMovesLogitsOfEitherSignDown) {
  SamplingParams params = Greedy();
  params.repetition_penalty = 2;
  const std::vector<TokenId> prompt = {0};
  TestSampler sampler(params, 0, prompt);
  // 4 / 2 = 2, -1 * 2 = -2.
  EXPECT_EQ(sampler.Choose(std::vector<float>{4, 2.1f}, 0), 1);
  EXPECT_EQ(sampler.Choose(std::vector<float>{4, 1.9f}, 0), 0);
  EXPECT_EQ(sampler.Choose(std::vector<float>{-1, -1.9f}, 0), 1);
  EXPECT_EQ(sampler.Choose(std::vector<float>{-1, -2.1f}, 0), 0);
}

TEST(Sampler, PresenceAndFrequencyCountGeneratedTokensOnly) {
  SamplingParams params = Greedy();
  params.presence_penalty = 1;
  params.frequency_penalty = 0.5f;
  const std::vector<TokenId> prompt = {0, 0, 0};
  TestSampler sampler(params, 0, prompt);
  EXPECT_EQ(sampler.Choose(std::vector<float>{1, 0.9f}, 0), 0);
  sampler.Push(0);  // -1.5
  EXPECT_EQ(sampler.Choose(std::vector<float>{2.6f, 1}, 0), 0);
  EXPECT_EQ(sampler.Choose(std::vector<float>{2.4f, 1}, 0), 1);
  sampler.Push(0);  // -2: presence once, frequency twice
  EXPECT_EQ(sampler.Choose(std::vector<float>{3.1f, 1}, 0), 0);
  EXPECT_EQ(sampler.Choose(std::vector<float>{2.9f, 1}, 0), 1);
}

TEST(Sampler, PopTakesBackPush) {
  SamplingParams params;
  params.repetition_penalty = 1.3f;
  params.presence_penalty = 0.7f;
  params.frequency_penalty = -0.4f;
  const std::vector<TokenId> prompt = {1, 2, 2};
  std::mt19937_64 random(1);
  const std::vector<float> logits = RandomLogits(random, 6, 2);
  TestSampler sampler(params, 0, prompt);
  sampler.Push(3);
  const Probabilities before = sampler.Warp(logits);
  const std::vector<TokenId> drafts = {3, 2, 5, 5};
  for (const TokenId id : drafts) sampler.Push(id);
  EXPECT_NE(sampler.Warp(logits).probs, before.probs);
  for (const TokenId id : drafts) sampler.Pop(id);
  EXPECT_EQ(sampler.Warp(logits).probs, before.probs);
}

TEST(Sampler, WarpWithPenaltiesIsTheReferences) {
  std::mt19937_64 random(2);
  std::uniform_int_distribution<int> any_token(0, 39);
  std::uniform_real_distribution<float> any_penalty(-2, 2);
  std::uniform_real_distribution<float> any_repetition(0.5f, 2);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    SamplingParams params;
    params.temperature = any_repetition(random);
    params.repetition_penalty = any_repetition(random);
    if (round % 2 == 0) params.presence_penalty = any_penalty(random);
    if (round % 3 == 0) params.frequency_penalty = any_penalty(random);
    for (int i = 0; i < 5; ++i) {
      params.logit_bias.emplace_back(any_token(random), any_penalty(random));
    }
    std::vector<TokenId> prompt(10), generated(10);
    for (TokenId& id : prompt) id = any_token(random);
    for (TokenId& id : generated) id = any_token(random);
    const std::vector<float> logits = RandomLogits(random, 40, 3);
    TestSampler sampler(params, 0, prompt);
    for (const TokenId id : generated) sampler.Push(id);
    ExpectDistribution(sampler.Warp(logits),
                       ReferenceWarp(params, ReferenceProcess(params, logits, prompt, generated)));
  }
}

// ---- Truncation ------------------------------------------------------------------------------

SamplingParams RandomTruncation(std::mt19937_64& random) {
  std::uniform_real_distribution<float> unit(0, 1);
  SamplingParams params;
  params.temperature = 0.3f + 1.5f * unit(random);
  if (unit(random) < 0.5f) params.top_k = 1 + static_cast<int>(60 * unit(random));
  if (unit(random) < 0.5f) params.top_p = 0.05f + 0.95f * unit(random);
  if (unit(random) < 0.4f) params.min_p = 0.5f * unit(random);
  return params;
}

TEST(Sampler, WarpWithTruncationIsTheReferences) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 500; ++round) {
    SCOPED_TRACE(round);
    const SamplingParams params = RandomTruncation(random);
    const int vocab_size = round % 2 == 0 ? 50 : 1500;
    const std::vector<float> logits =
        RandomLogits(random, vocab_size, round % 3 == 0 ? 0.05f : 2.0f);
    TestSampler sampler(params, 0, {});
    ExpectDistribution(sampler.Warp(logits), ReferenceWarp(params, {logits.begin(), logits.end()}));
  }
}

TEST(Sampler, TiesAtTheCutGoToTheLowerId) {
  SamplingParams params;
  params.top_k = 2;
  EXPECT_THAT(TestSampler(params, 0, {}).Warp(std::vector<float>{1, 2, 2, 2}).ids,
              ElementsAre(1, 2));
  params.top_k = 0;
  params.top_p = 0.45f;
  EXPECT_THAT(TestSampler(params, 0, {}).Warp(std::vector<float>{0, 0, 0, 0}).ids,
              ElementsAre(0, 1));
}

TEST(Sampler, TheExtremesOfTruncationKeepTheMostLikelyToken) {
  std::mt19937_64 random(4);
  const std::vector<float> logits = RandomLogits(random, 100, 1);
  const TokenId best = static_cast<TokenId>(ScanLogits(logits).best);
  SamplingParams top_p, min_p, cold;
  top_p.top_p = 1e-6f;
  min_p.min_p = 1;
  cold.temperature = 0.01f;
  cold.min_p = 0.5f;
  for (const SamplingParams& params : {top_p, min_p, cold}) {
    EXPECT_THAT(TestSampler(params, 0, {}).Warp(logits).ids, ElementsAre(best));
  }
}

// ---- Some tokens only ------------------------------------------------------------------------

// Logits of the tokens `ids` alone must do what logits of all do where the others are far below.
// Both have the same bits: e^-87 is 0 in the sums.
TEST(Sampler, SomeTokensLogitsDoWhatAllDoWhereTheOthersAreFarBelow) {
  std::mt19937_64 random(31);
  std::uniform_int_distribution<int> any_token(0, 199);
  std::uniform_real_distribution<float> any_penalty(-2, 2);
  for (int round = 0; round < 1000; ++round) {
    SCOPED_TRACE(round);
    SamplingParams params = RandomTruncation(random);
    if (round % 3 == 0) params.temperature = 0;
    // Top-k must not reach the others, which have places, too.
    if (params.top_k > 20) params.top_k = 20;
    if (round % 2 == 0) {
      params.repetition_penalty = 1.2f;
      params.presence_penalty = any_penalty(random);
      params.frequency_penalty = any_penalty(random);
      for (int i = 0; i < 5; ++i) {
        params.logit_bias.emplace_back(any_token(random), any_penalty(random));
      }
    }
    std::vector<TokenId> prompt(10), generated(10), ids(20 + round % 100);
    for (TokenId& id : prompt) id = any_token(random);
    for (TokenId& id : generated) id = any_token(random);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i * 200 / ids.size());
    std::vector<float> all(200, -1e6f),
        some = RandomLogits(random, static_cast<int>(ids.size()), 2);
    for (size_t i = 0; i < ids.size(); ++i) all[ids[i]] = some[i];
    params.seed = params.temperature > 0 ? std::optional<uint64_t>(random()) : std::nullopt;
    TestSampler sampler(params, 3, prompt);
    for (const TokenId id : generated) sampler.Push(id);
    EXPECT_EQ(sampler.Choose(some, round, ids), sampler.Choose(all, round));
    const Probabilities warped = sampler.Warp(some, ids);
    const Probabilities expected = sampler.Warp(all);
    EXPECT_TRUE(std::includes(ids.begin(), ids.end(), warped.ids.begin(), warped.ids.end()));
    for (TokenId id = 0; id < 200; ++id) {
      ASSERT_NEAR(warped.Of(id), expected.Of(id), 1e-12) << "token " << id;
    }
  }
}

TEST(Sampler, BiasAndPenaltiesOfTokensThatAreNotThereHaveNoEffect) {
  SamplingParams params = Greedy();
  params.logit_bias = {{3, 100.0f}, {9, 100.0f}, {0, 100.0f}};
  params.repetition_penalty = 2;
  TestSampler sampler(params, 0, std::vector<TokenId>{0, 3, 9});
  const std::vector<TokenId> ids = {2, 4, 8};
  EXPECT_EQ(sampler.Choose(std::vector<float>{1, 3, 2}, 0, ids), 4);
  EXPECT_THAT(sampler.Warp(std::vector<float>{1, 3, 2}, ids).ids, ElementsAre(4));
  // The next call sees all tokens again.
  EXPECT_EQ(sampler.Choose(std::vector<float>(10), 0), 0);
}

// ---- Drawing ---------------------------------------------------------------------------------

TEST(Sampler, ChooseIsTheGumbelArgmaxOverWarpsSupport) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 2000; ++round) {
    SamplingParams params = RandomTruncation(random);
    params.seed = random();
    const int sample_index = round % 16;
    const std::vector<float> logits = RandomLogits(random, round % 4 == 0 ? 1500 : 80, 2);
    TestSampler sampler(params, sample_index, {});
    const Probabilities warped = sampler.Warp(logits);
    const GumbelNoise noise(*params.seed, static_cast<uint32_t>(sample_index), round);
    TokenId best = -1;
    double best_score = -INFINITY;
    for (size_t i = 0; i < warped.ids.size(); ++i) {
      const double score = std::log(warped.probs[i]) + noise.At(warped.ids[i]);
      if (score > best_score) best = warped.ids[i];
      best_score = std::max(best_score, score);
    }
    ASSERT_EQ(sampler.Choose(logits, round), best) << "round " << round;
  }
}

TEST(Sampler, SeededFrequenciesFollowWarp) {
  std::mt19937_64 random(6);
  SamplingParams params;
  params.temperature = 1.2f;
  params.top_k = 8;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
    params.seed = seed;
    TestSampler sampler(params, 0, {});
    const std::vector<float> logits = RandomLogits(random, 12, 1);
    const Probabilities warped = sampler.Warp(logits);
    std::map<TokenId, int64_t> counts;
    for (int position = 0; position < 100'000; ++position) {
      ++counts[sampler.Choose(logits, position)];
    }
    std::vector<std::pair<double, int64_t>> cells;
    for (const TokenId id : warped.ids) cells.emplace_back(warped.Of(id), counts[id]);
    const ChiSquare chi_square = CompareCounts(cells);
    EXPECT_EQ(chi_square.degrees_of_freedom, 7);
    EXPECT_LT(chi_square.statistic, chi_square.Threshold()) << "seed " << seed;
  }
}

TEST(Sampler, NoiseDiffersBySeedSampleAndPosition) {
  const std::vector<float> flat(1000, 0.0f);
  const auto choose = [&](uint64_t seed, int sample_index, int64_t position) {
    SamplingParams params;
    params.seed = seed;
    return TestSampler(params, sample_index, {}).Choose(flat, position);
  };
  EXPECT_EQ(choose(7, 1, 3), choose(7, 1, 3));
  // A pair agrees with probability 1/1000, so few of a hundred do.
  int same_by_seed = 0, same_by_sample = 0, same_by_position = 0;
  for (int i = 0; i < 100; ++i) {
    same_by_seed += choose(i, 0, 0) == choose(i + 1, 0, 0);
    same_by_sample += choose(7, i, 5) == choose(7, i + 1, 5);
    same_by_position += choose(7, 0, i) == choose(7, 0, i + 1);
  }
  EXPECT_LE(same_by_seed, 3);
  EXPECT_LE(same_by_sample, 3);
  EXPECT_LE(same_by_position, 3);
}

TEST(Sampler, GumbelNoiseIsFiniteAndHasTheGumbelMean) {
  double sum = 0;
  constexpr int kDraws = 200'000;
  for (int id = 0; id < kDraws; ++id) {
    const double noise = GumbelNoise(1, 2, 3).At(id);
    ASSERT_TRUE(std::isfinite(noise));
    sum += noise;
  }
  // Euler's constant; the standard deviation is pi / sqrt(6) = 1.28, five of the mean's are 0.0144.
  EXPECT_NEAR(sum / kDraws, 0.5772, 0.0144);
}

TEST(CounterRng, IsUniformAndAFunctionOfItsKey) {
  CounterRng a(1), same(1), other(2);
  std::vector<std::pair<double, int64_t>> cells(64, {1.0 / 64, 0});
  for (int i = 0; i < 100'000; ++i) {
    const double u = a.Next();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ASSERT_EQ(u, same.Next());
    ASSERT_NE(u, other.Next());
    ++cells[static_cast<size_t>(u * 64)].second;
  }
  const ChiSquare chi_square = CompareCounts(cells);
  EXPECT_LT(chi_square.statistic, chi_square.Threshold());
}

// ---- Arithmetic ------------------------------------------------------------------------------

TEST(ComputeLogprobs, IsTheReferences) {
  std::mt19937_64 random(8);
  for (int round = 0; round < 100; ++round) {
    const std::vector<float> logits = RandomLogits(random, 500, round % 2 == 0 ? 1.0f : 8.0f);
    const std::vector<double> probs = Softmax({logits.begin(), logits.end()});
    const TokenId chosen = static_cast<TokenId>(random() % 500);
    const int num_top = round % 21;
    const TokenLogprobs actual = ComputeLogprobs(Logits(logits), chosen, num_top);
    // FastExp's error in the sum, and one rounding to f32.
    const auto expect_logprob = [&](float logprob, TokenId id) {
      const double exact = std::log(probs[id]);
      EXPECT_NEAR(logprob, exact, 3e-7 + 0x1p-24 * std::abs(exact)) << "token " << id;
    };
    EXPECT_EQ(actual.token_id, chosen);
    expect_logprob(actual.logprob, chosen);
    EXPECT_EQ(actual.is_greedy, chosen == static_cast<TokenId>(ScanLogits(logits).best));
    std::vector<TokenId> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
    ASSERT_EQ(actual.top.size(), static_cast<size_t>(num_top));
    for (int i = 0; i < num_top; ++i) {
      EXPECT_EQ(actual.top[i].token_id, order[i]);
      expect_logprob(actual.top[i].logprob, order[i]);
    }
  }
}

TEST(ProbabilityOf, IsTheReferences) {
  std::mt19937_64 random(9);
  const std::vector<float> logits = RandomLogits(random, 50, 3);
  const std::vector<double> probs = Softmax({logits.begin(), logits.end()});
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < 50; ++id) ids.push_back(3 * id + 1);
  for (TokenId id = 0; id < 50; ++id) {
    EXPECT_NEAR(ProbabilityOf(id, Logits(logits)), probs[id], 5e-6 * probs[id]);
    EXPECT_NEAR(ProbabilityOf(ids[id], Logits(logits, ids)), probs[id], 5e-6 * probs[id]);
  }
}

TEST(ComputeLogprobs, TiesAreByLowerIdAndTopIsAtMostTheVocabulary) {
  const TokenLogprobs logprobs = ComputeLogprobs(Logits(std::vector<float>{1, 2, 2}), 2, 20);
  EXPECT_FALSE(logprobs.is_greedy);
  ASSERT_EQ(logprobs.top.size(), 3u);
  EXPECT_EQ(logprobs.top[0].token_id, 1);
  EXPECT_EQ(logprobs.top[1].token_id, 2);
  EXPECT_EQ(logprobs.top[2].token_id, 0);
}

}  // namespace
}  // namespace strata
