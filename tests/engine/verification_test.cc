// Verification on the running engine: log-probabilities, stops, and the bound on
// what drafts were drawn from. Distributions are in unit/distribution_test.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

const TestDevice kDevice = {"", kernels::WeightFormat::kF32, 1};
constexpr int kNewTokens = 24;

std::unique_ptr<Engine> Open(Verification verification,
                             int64_t draft_distribution_bytes = int64_t{64} << 20) {
  EngineOptions options = TestEngineOptions();
  options.verification = verification;
  options.draft_distribution_bytes = draft_distribution_bytes;
  return OpenEngine(TinyModel(), kDevice, options);
}

// Everything that a sampler and a stream can be asked for, at random.
class RandomRequests {
 public:
  explicit RandomRequests(uint64_t seed) : random_(seed) {}

  GenerateRequest Next() {
    GenerateRequest request;
    std::vector<TokenId> prompt(1 + Int(20));
    for (TokenId& id : prompt) id = AnyToken();
    request.prompt = prompt;
    request.stopping.max_new_tokens = 1 + Int(kNewTokens);
    request.stopping.ignore_eos = Chance(0.5);
    request.speculation.mode = Speculation::Mode::kFixed;
    request.speculation.exit_layer = 1 + Int(5);
    request.speculation.num_draft_tokens = 1 + Int(8);
    request.output.logprobs = Int(4);
    SetSampling(request.sampling);
    if (Chance(0.3)) {
      for (int i = 0; i < 40; ++i) request.stopping.stop_token_ids.push_back(AnyToken());
      // Biased tokens come often.
      for (const auto& [id, bias] : request.sampling.logit_bias) {
        if (Chance(0.5)) request.stopping.stop_token_ids.push_back(id);
      }
    }
    if (Chance(0.3)) request.stopping.stop_sequences = {"e", "in"};
    return request;
  }

 private:
  int Int(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  bool Chance(double p) { return Int(1000) < static_cast<int>(1000 * p); }
  TokenId AnyToken() { return Int(1500); }

  void SetSampling(SamplingParams& sampling) {
    sampling.temperature = Chance(0.1) ? 0.0f : 0.1f + 0.01f * static_cast<float>(Int(100));
    if (Chance(0.3)) sampling.seed = random_();
    if (Chance(0.5)) sampling.top_k = 1 + Int(20);
    if (Chance(0.4)) sampling.top_p = 0.2f + 0.01f * static_cast<float>(Int(80));
    if (Chance(0.2)) sampling.min_p = 0.3f;
    if (Chance(0.5)) {
      for (int i = 0; i < 5; ++i) sampling.logit_bias.emplace_back(AnyToken(), 8.0f);
    }
    if (Chance(0.4)) {
      sampling.repetition_penalty = 1.2f;
      sampling.presence_penalty = 0.5f;
      sampling.frequency_penalty = 0.25f;
    }
    sampling.num_samples = 1 + Int(3);
  }

  std::mt19937_64 random_;
};

void ExpectEqual(const TokenLogprobs& actual, const TokenLogprobs& expected) {
  EXPECT_EQ(actual.token_id, expected.token_id);
  EXPECT_EQ(actual.logprob, expected.logprob);
  EXPECT_EQ(actual.is_greedy, expected.is_greedy);
  ASSERT_EQ(actual.top.size(), expected.top.size());
  for (size_t i = 0; i < actual.top.size(); ++i) {
    EXPECT_EQ(actual.top[i].token_id, expected.top[i].token_id);
    EXPECT_EQ(actual.top[i].logprob, expected.top[i].logprob);
  }
}

// What scoring says of the text that came out. Its rows' bits are those of the rounds'.
std::vector<TokenLogprobs> Scores(Engine& engine, const std::vector<TokenId>& prompt,
                                  const CollectedSample& sample, int num_top) {
  GenerateRequest request;
  std::vector<TokenId> text = prompt;
  text.insert(text.end(), sample.token_ids.begin(), sample.token_ids.end());
  request.prompt = text;
  request.output.logprobs = num_top;
  request.output.prompt_logprobs = true;
  std::vector<TokenLogprobs> scores = Generate(engine, request).prompt_logprobs;
  scores.erase(scores.begin(), scores.begin() + static_cast<ptrdiff_t>(prompt.size()) - 1);
  return scores;
}

void CheckSample(Engine& engine, const GenerateRequest& request, const CollectedSample& sample) {
  const auto& prompt = std::get<std::vector<TokenId>>(request.prompt);
  const SpeculationStats& stats = sample.finished->speculation;
  EXPECT_EQ(stats.emitted_tokens, static_cast<int>(sample.token_ids.size()));
  EXPECT_LE(stats.accepted_tokens, stats.drafted_tokens);
  EXPECT_LE(sample.token_ids.size(), static_cast<size_t>(request.stopping.max_new_tokens));
  // Nothing follows a stop token, wherever in a block it was drafted.
  const auto& stops = request.stopping.stop_token_ids;
  const auto stop = std::find_first_of(sample.token_ids.begin(), sample.token_ids.end(),
                                       stops.begin(), stops.end());
  if (stop != sample.token_ids.end()) {
    EXPECT_EQ(stop + 1, sample.token_ids.end());
  }
  const auto scores = Scores(engine, prompt, sample, *request.output.logprobs);
  ASSERT_EQ(sample.logprobs.size(), sample.token_ids.size());
  ASSERT_EQ(scores.size(), sample.token_ids.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    EXPECT_EQ(sample.logprobs[i].token_id, sample.token_ids[i]);
    ExpectEqual(sample.logprobs[i], scores[i]);
  }
}

class VerifiedText : public testing::TestWithParam<Verification> {};

TEST_P(VerifiedText, HasTheTargetsLogprobsAndEndsAtStops) {
  const auto engine = Open(GetParam());
  RandomRequests requests(21);
  int64_t accepted = 0, rejected = 0;
  for (int round = 0; round < 12; ++round) {
    std::vector<std::pair<GenerateRequest, std::shared_ptr<CollectingSink>>> running;
    for (int i = 0; i < 8; ++i) {
      running.emplace_back(requests.Next(), std::make_shared<CollectingSink>());
      ASSERT_TRUE(engine->Submit(running.back().first, running.back().second).ok());
    }
    for (const auto& [request, sink] : running) {
      ASSERT_TRUE(sink->Wait().ok());
      for (int i = 0; i < request.sampling.num_samples; ++i) {
        SCOPED_TRACE(round);
        ASSERT_NO_FATAL_FAILURE(CheckSample(*engine, request, sink->sample(i)));
        const SpeculationStats& stats = sink->sample(i).finished->speculation;
        accepted += stats.accepted_tokens;
        rejected += stats.drafted_tokens - stats.accepted_tokens;
      }
    }
  }
  // Otherwise no block was looked at from within.
  EXPECT_GT(accepted, 100);
  EXPECT_GT(rejected, 100);
}

INSTANTIATE_TEST_SUITE_P(Schemes, VerifiedText,
                         testing::Values(Verification::kBlock, Verification::kToken),
                         [](const auto& info) {
                           return info.param == Verification::kBlock ? "Block" : "Token";
                         });

// ---- Memory for the drafts' distributions ----------------------------------------------------

constexpr int kDrafts = 4;
constexpr int kSequences = 8;

// Drafts a round and sequence while all run.
double DraftsPerRound(int64_t draft_distribution_bytes, const SamplingParams& sampling) {
  const auto engine = Open(Verification::kBlock, draft_distribution_bytes);
  GenerateRequest request;
  request.prompt = std::vector<TokenId>{5, 6, 7};
  request.sampling = sampling;
  request.sampling.num_samples = kSequences;
  request.stopping.max_new_tokens = 40;
  request.stopping.ignore_eos = true;
  request.speculation.mode = Speculation::Mode::kFixed;
  request.speculation.exit_layer = 3;
  request.speculation.num_draft_tokens = kDrafts;
  const auto sink = std::make_shared<CollectingSink>();
  EXPECT_TRUE(engine->Submit(request, sink).ok());
  EXPECT_TRUE(sink->Wait().ok());
  double drafted = 0, rounds = 0;
  for (int i = 0; i < kSequences; ++i) {
    const SpeculationStats& stats = sink->sample(i).finished->speculation;
    drafted += stats.drafted_tokens;
    rounds += stats.rounds;
  }
  // Whatever a micro-step could not draft is back in its pool.
  EXPECT_EQ(engine->GetLoad().exit_cache_rows_used, 0);
  return drafted / rounds;
}

TEST(DraftDistributionMemory, BoundsUnseededDraftsAndNoOthers) {
  SamplingParams top_k;
  top_k.top_k = 10;
  const int64_t bytes_each = 10 * 8;
  const double all = DraftsPerRound(int64_t{64} << 20, top_k);
  EXPECT_GT(all, kDrafts - 1);
  EXPECT_GT(DraftsPerRound(kSequences * kDrafts * bytes_each, top_k), kDrafts - 1);
  // Half of the first micro-step's find room, and then none.
  const double half = DraftsPerRound(kSequences / 2 * bytes_each, top_k);
  EXPECT_GT(half, 0.3);
  EXPECT_LT(half, 1);
  EXPECT_EQ(DraftsPerRound(0, top_k), 0);
  SamplingParams seeded = top_k, greedy;
  seeded.seed = 1;
  greedy.temperature = 0;
  EXPECT_GT(DraftsPerRound(0, seeded), kDrafts - 1);
  EXPECT_GT(DraftsPerRound(0, greedy), kDrafts - 1);
}

TEST(DraftDistributionMemory, OfAllTokensTakesFourBytesEach) {
  const int64_t bytes_each = 1505 * 4;
  EXPECT_GT(DraftsPerRound(kSequences * kDrafts * bytes_each, SamplingParams()), kDrafts - 1);
  EXPECT_EQ(DraftsPerRound(bytes_each - 1, SamplingParams()), 0);
}

TEST(DraftDistributionMemory, MustNotBeNegative) {
  EngineOptions options = TestEngineOptions();
  options.draft_distribution_bytes = -1;
  auto checkpoint = Checkpoint::Open(TinyModel());
  ASSERT_TRUE(checkpoint.ok());
  auto tokenizer = Tokenizer::Open(TinyModel(), (*checkpoint)->config().vocab_size);
  const auto engine = Engine::Create(
      *std::move(checkpoint), *std::move(tokenizer),
      kernels::CreateCpuBackend({kernels::WeightFormat::kF32, 1, ""}), options, nullptr, nullptr);
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(engine.status().message()),
              testing::HasSubstr("draft distribution memory"));
}

}  // namespace
}  // namespace strata
