#include "bench/simulator/token_process.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace strata::sim {
namespace {

constexpr int kNumLayers = 80;

AcceptanceOptions Options() {
  AcceptanceOptions options;
  options.exits = {{5, 0.4}, {10, 0.6}, {40, 0.9}};
  return options;
}

TokenProcess Make(const AcceptanceOptions& options, uint64_t seed = 1) {
  return *TokenProcess::Create(options, kNumLayers, seed);
}

// The state after a prompt of one difficulty, and after `num_tokens` tokens of its text.
TextState After(const TokenProcess& process, int difficulty, int num_tokens) {
  TextState state = process.Append(process.Start(), TokenProcess::DifficultyToken(difficulty));
  for (int i = 0; i < num_tokens; ++i) state = process.Append(state, process.NextToken(state));
  return state;
}

// Calls visit(state) for many states along many texts.
template <typename Visit>
void ForEachState(const TokenProcess& process, Visit visit) {
  for (int difficulty = 0; difficulty < TokenProcess::kDifficulties; difficulty += 4) {
    TextState state = After(process, difficulty, 20);
    for (int i = 0; i < 400; ++i) {
      visit(state);
      state = process.Append(state, process.NextToken(state));
    }
  }
}

TEST(TokenProcess, TextIsAFunctionOfTokensAndSeed) {
  const TokenProcess process = Make(Options());
  const TokenProcess same = Make(Options());
  const TokenProcess other = Make(Options(), 2);
  int differing = 0;
  TextState a = process.Start(), b = same.Start(), c = other.Start();
  for (int i = 0; i < 200; ++i) {
    const TokenId token = process.NextToken(a);
    EXPECT_EQ(token, same.NextToken(b));
    EXPECT_EQ(process.GuessAt(a, 10).token, same.GuessAt(b, 10).token);
    if (token != other.NextToken(c)) ++differing;
    a = process.Append(a, token);
    b = same.Append(b, token);
    c = other.Append(c, token);
  }
  EXPECT_GT(differing, 150);
}

TEST(TokenProcess, ReachesTheMeansThatAreAskedFor) {
  const TokenProcess process = Make(Options());
  for (const ExitAcceptance& exit : Options().exits) {
    int64_t agreed = 0, total = 0;
    double expected = 0;
    ForEachState(process, [&](const TextState& state) {
      agreed += process.GuessAt(state, exit.exit_layer).token == process.NextToken(state);
      expected += process.Acceptance(state, exit.exit_layer);
      ++total;
    });
    // 102,400 correlated draws: deviations of about 0.004.
    EXPECT_NEAR(static_cast<double>(agreed) / total, exit.mean, 0.02) << exit.exit_layer;
    EXPECT_NEAR(expected / total, exit.mean, 0.02) << exit.exit_layer;
  }
}

TEST(TokenProcess, DeeperExitsAreRightWhereShallowOnesAre) {
  const TokenProcess process = Make(Options());
  ForEachState(process, [&](const TextState& state) {
    const TokenId next = process.NextToken(state);
    bool was_right = false;
    for (const int exit_layer : {2, 5, 7, 10, 20, 40, 60}) {
      const bool right = process.GuessAt(state, exit_layer).token == next;
      EXPECT_TRUE(right || !was_right) << exit_layer;
      was_right = right;
    }
  });
}

TEST(TokenProcess, EasyRequestsAreAcceptedMoreOften) {
  const TokenProcess process = Make(Options());
  EXPECT_LT(process.Acceptance(After(process, 0, 0), 10),
            process.Acceptance(After(process, TokenProcess::kDifficulties - 1, 0), 10));
}

TEST(TokenProcess, EaseOfNeighboursIsCorrelatedAsAskedFor) {
  for (const double correlation : {0.0, 0.6, 0.9}) {
    AcceptanceOptions options = Options();
    options.correlation = correlation;
    const TokenProcess process = Make(options);
    double products = 0, squares = 0;
    ForEachState(process, [&](const TextState& state) {
      const TextState next = process.Append(state, process.NextToken(state));
      products += state.token_ease * next.token_ease;
      squares += state.token_ease * state.token_ease;
    });
    EXPECT_NEAR(products / squares, correlation, 0.02);
    EXPECT_NEAR(squares / 102400, 1, 0.05);
  }
}

TEST(TokenProcess, UnbiasedConfidenceWithoutNoiseIsTheTruth) {
  AcceptanceOptions options = Options();
  options.confidence_bias = 0;
  options.confidence_noise = 0;
  const TokenProcess process = Make(options);
  ForEachState(process, [&](const TextState& state) {
    const double truth = process.Acceptance(state, 10);
    if (truth < 0.1) return;  // not below what a top probability can be
    EXPECT_NEAR(process.GuessAt(state, 10).confidence, truth, 1e-5);
  });
}

TEST(TokenProcess, OverConfidenceShows) {
  const TokenProcess process = Make(Options());
  double confidence = 0, truth = 0;
  ForEachState(process, [&](const TextState& state) {
    confidence += process.GuessAt(state, 10).confidence;
    truth += process.Acceptance(state, 10);
  });
  EXPECT_GT(confidence, 1.02 * truth);
}

TEST(TokenProcess, RefusesImpossibleAcceptance) {
  const auto refuses = [](const std::vector<ExitAcceptance>& exits, double correlation = 0) {
    AcceptanceOptions options;
    options.exits = exits;
    options.correlation = correlation;
    return TokenProcess::Create(options, kNumLayers, 1).status().code() ==
           absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refuses({}));
  EXPECT_TRUE(refuses({{0, 0.5}}));
  EXPECT_TRUE(refuses({{80, 0.5}}));
  EXPECT_TRUE(refuses({{10, 0.5}, {10, 0.6}}));
  EXPECT_TRUE(refuses({{10, 0.5}, {20, 0.4}}));
  EXPECT_TRUE(refuses({{10, 1.0}}));
  EXPECT_TRUE(refuses({{10, std::nan("")}}));
  EXPECT_TRUE(refuses({{10, 0.5}}, 1.0));
  EXPECT_FALSE(refuses({{10, 0.5}}));
}

TEST(NormalQuantile, InvertsTheDistribution) {
  EXPECT_NEAR(NormalQuantile(0.5), 0, 1e-9);
  EXPECT_NEAR(NormalQuantile(0.975), 1.959963985, 1e-8);
  EXPECT_NEAR(NormalQuantile(1e-6), -4.753424309, 1e-7);
}

TEST(MeanSigmoid, IsInverted) {
  EXPECT_NEAR(MeanSigmoid(0, 2), 0.5, 1e-6);
  EXPECT_NEAR(MeanForSigmoid(0.75, 0), std::log(3), 1e-9);
  for (const double probability : {0.05, 0.5, 0.9}) {
    EXPECT_NEAR(MeanSigmoid(MeanForSigmoid(probability, 1.2), 1.2), probability, 1e-9);
  }
}

}  // namespace
}  // namespace strata::sim
