// The prefix cache in a running engine: what it spares, and that nobody can tell
// from the answers.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/admission.h"
#include "engine/engine.h"
#include "tests/engine/unit/hooked_sink.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

const TestDevice kDevice = {"", kernels::WeightFormat::kF32, 2};

std::vector<TokenId> Prompt(int num_tokens, int variant = 0) {
  std::vector<TokenId> prompt;
  for (int i = 0; i < num_tokens; ++i) prompt.push_back((37 * i + 11 * variant + 5) % 1400);
  return prompt;
}

GenerateRequest Request(std::vector<TokenId> prompt, int max_new_tokens, uint64_t seed = 1) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0.9f;
  request.sampling.seed = seed;
  request.stopping.max_new_tokens = max_new_tokens;
  request.stopping.ignore_eos = true;
  request.output.logprobs = 1;
  return request;
}

std::shared_ptr<CollectingSink> Submit(Engine& engine, const GenerateRequest& request) {
  auto sink = std::make_shared<CollectingSink>();
  const auto id = engine.Submit(request, sink);
  EXPECT_TRUE(id.ok()) << id.status();
  return sink;
}

EngineOptions WithoutCache() {
  EngineOptions options = TestEngineOptions();
  options.prefix_cache = false;
  return options;
}

std::vector<float> Values(const std::vector<TokenLogprobs>& logprobs) {
  std::vector<float> values;
  for (const TokenLogprobs& entry : logprobs) values.push_back(entry.logprob);
  return values;
}

TEST(PrefixCache, AThousandTokensThat32RequestsShareAreComputedOnce) {
  EngineOptions options = TestEngineOptions();
  options.max_sequences = 32;
  options.max_batch_tokens = 256;
  const auto engine = OpenEngine(DemoModel(), kDevice, options);
  const auto plain = OpenEngine(DemoModel(), kDevice, WithoutCache());
  std::vector<GenerateRequest> requests;
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (int i = 0; i < 32; ++i) {
    std::vector<TokenId> prompt = Prompt(1'000);
    for (int j = 0; j < 8; ++j) prompt.push_back(100 + i);
    requests.push_back(Request(prompt, 4, static_cast<uint64_t>(i)));
    sinks.push_back(Submit(*engine, requests.back()));
  }
  for (const auto& sink : sinks) ASSERT_TRUE(sink->Wait().ok());
  engine->WaitUntilIdle(Instant::max());
  EXPECT_EQ(engine->GetCounters().prefilled_tokens, 1'008 + 31 * 16);
  EXPECT_EQ(engine->GetCounters().cached_tokens, 31 * 992);
  // Those that found it all.
  EXPECT_EQ(sinks.back()->sample().started.cached_prompt_tokens, 992);
  for (const int i : {0, 7, 31}) {
    EXPECT_EQ(sinks[i]->sample().token_ids, Generate(*plain, requests[i]).token_ids);
  }
}

TEST(PrefixCache, ARepeatedPromptIsFoundAndReportedAndItsAnswerTheSame) {
  const auto engine = OpenEngine(TinyModel(), kDevice, TestEngineOptions());
  const GenerateRequest request = Request(Prompt(100), 20);
  const CollectedSample first = Generate(*engine, request);
  const CollectedSample again = Generate(*engine, request);
  EXPECT_EQ(first.started.cached_prompt_tokens, 0);
  EXPECT_EQ(again.started.cached_prompt_tokens, 96);
  EXPECT_EQ(again.token_ids, first.token_ids);
  EXPECT_EQ(Values(again.logprobs), Values(first.logprobs));
  EXPECT_EQ(engine->GetCounters().prefilled_tokens, 104);
}

TEST(PrefixCache, TheLoadTellsUsedFromCached) {
  const auto engine = OpenEngine(TinyModel(), kDevice, TestEngineOptions());
  Generate(*engine, Request(Prompt(100), 10));
  engine->WaitUntilIdle(Instant::max());
  EXPECT_EQ(engine->GetLoad().kv_blocks_used, 0);
  EXPECT_EQ(engine->GetLoad().kv_blocks_cached, 109 / 16);
}

TEST(PrefixCache, OffMeansThatNothingIsKept) {
  const auto engine = OpenEngine(TinyModel(), kDevice, WithoutCache());
  for (int i = 0; i < 2; ++i) {
    const CollectedSample sample = Generate(*engine, Request(Prompt(100), 4));
    EXPECT_EQ(sample.started.cached_prompt_tokens, 0);
  }
  engine->WaitUntilIdle(Instant::max());
  EXPECT_EQ(engine->GetCounters().prefilled_tokens, 200);
  EXPECT_EQ(engine->GetLoad().kv_blocks_cached, 0);
}

TEST(PrefixCache, PromptLogprobsAreComputedWhateverIsCached) {
  const auto engine = OpenEngine(TinyModel(), kDevice, TestEngineOptions());
  GenerateRequest request = Request(Prompt(100), 4);
  request.output.prompt_logprobs = true;
  const CollectedSample first = Generate(*engine, request);
  const CollectedSample again = Generate(*engine, request);
  ASSERT_EQ(first.prompt_logprobs.size(), 99u);
  EXPECT_EQ(Values(again.prompt_logprobs), Values(first.prompt_logprobs));
  EXPECT_EQ(again.started.cached_prompt_tokens, 0);
}

class PrefixCacheSamples : public testing::TestWithParam<bool> {};

TEST_P(PrefixCacheSamples, OfARequestShareItsPrompt) {
  EngineOptions options = TestEngineOptions();
  options.prefix_cache = GetParam();
  const auto engine = OpenEngine(TinyModel(), kDevice, options);
  GenerateRequest request = Request(Prompt(100), 12);
  request.sampling.num_samples = 8;
  const auto sink = Submit(*engine, request);
  ASSERT_TRUE(sink->Wait().ok());
  engine->WaitUntilIdle(Instant::max());
  EXPECT_EQ(engine->GetCounters().prefilled_tokens, 100 + 7 * 4);
  EXPECT_EQ(engine->GetLoad().kv_blocks_used, 0);
  request.sampling.num_samples = 1;
  EXPECT_EQ(sink->sample(0).token_ids, Generate(*engine, request).token_ids);
  EXPECT_NE(sink->sample(0).token_ids, sink->sample(7).token_ids);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutCache, PrefixCacheSamples, testing::Bool());

TEST(PrefixCache, TenantsThatIsolateTheirPrefixesFindNobodyElses) {
  const auto engine = OpenEngine(TinyModel(), kDevice, TestEngineOptions());
  GenerateRequest request = Request(Prompt(64), 2);
  Generate(*engine, request);
  request.tenant.name = "secretive";
  request.tenant.isolates_prefixes = true;
  EXPECT_EQ(Generate(*engine, request).started.cached_prompt_tokens, 0);
  EXPECT_EQ(Generate(*engine, request).started.cached_prompt_tokens, 48);
  request.tenant.name = "another";
  EXPECT_EQ(Generate(*engine, request).started.cached_prompt_tokens, 0);
  request.tenant.isolates_prefixes = false;
  EXPECT_EQ(Generate(*engine, request).started.cached_prompt_tokens, 48) << "the open tenants'";
}

// A pool of a quarter of what is wanted: everything finishes, with the same tokens.
TEST(PrefixCache, AQuarterOfTheBlocksGivesTheSameTokens) {
  constexpr int kRequests = 16, kPrompt = 100, kAnswer = 60;
  EngineOptions options = TestEngineOptions();
  const auto ample = OpenEngine(TinyModel(), kDevice, options);
  options.max_context = kPrompt + kAnswer;
  options.kv_cache_bytes =
      KvBytes(ample->checkpoint().config(), kDevice, kPrompt + kAnswer) * kRequests / 4;
  const auto tight = OpenEngine(TinyModel(), kDevice, options);
  std::vector<GenerateRequest> requests;
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (int i = 0; i < kRequests; ++i) {
    // Every second one begins like all of these.
    requests.push_back(Request(Prompt(kPrompt, i % 2 * i), kAnswer, static_cast<uint64_t>(i)));
    requests.back().speculation.mode = Speculation::Mode::kFixed;
    requests.back().speculation.exit_layer = 2;
    requests.back().speculation.num_draft_tokens = i % 4;
    sinks.push_back(Submit(*tight, requests.back()));
  }
  for (int i = 0; i < kRequests; ++i) {
    ASSERT_TRUE(sinks[i]->Wait().ok());
    EXPECT_EQ(sinks[i]->sample().token_ids, Generate(*ample, requests[i]).token_ids) << i;
  }
  tight->WaitUntilIdle(Instant::max());
  EXPECT_EQ(tight->GetLoad().kv_blocks_used, 0);
  EXPECT_GT(tight->GetCounters().preemptions, 0);
  // 10 blocks of context: at most ceil(log2(10)) each.
  EXPECT_LE(tight->GetCounters().preemptions, kRequests * 4);
}

TEST(Tenants, LimitsAreKept) {
  EngineOptions options = TestEngineOptions();
  options.max_sequences = 4;
  const auto engine = OpenEngine(TinyModel(), kDevice, options);
  GenerateRequest request = Request(Prompt(20), 200);
  request.tenant.name = "small";
  request.tenant.max_running = 1;
  request.tenant.max_queued = 1;
  Gate gate;  // holds the engine at the first one's first token
  const auto first = std::make_shared<HookedSink>(gate.Hook());
  EXPECT_TRUE(engine->Submit(request, first).ok());
  gate.WaitForArrival();
  const auto second = Submit(*engine, request);
  const auto refused = engine->Submit(request, std::make_shared<CollectingSink>());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  request.tenant = {};
  const auto other = Submit(*engine, request);
  gate.Release();
  EXPECT_TRUE(first->collected.Wait().ok());
  EXPECT_TRUE(second->Wait().ok());
  EXPECT_TRUE(other->Wait().ok());
}

TEST(Tenants, TokensPerMinuteAreRefusedWithADelay) {
  EngineOptions options = TestEngineOptions();
  options.max_tokens_per_minute = 30;
  const auto engine = OpenEngine(TinyModel(), kDevice, options);
  EXPECT_TRUE(Submit(*engine, Request(Prompt(20), 20))->Wait().ok());
  const auto refused = engine->Submit(Request(Prompt(20), 1), std::make_shared<CollectingSink>());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  const std::optional<Duration> delay = RetryDelay(refused.status());
  ASSERT_TRUE(delay.has_value());
  EXPECT_GT(*delay, std::chrono::seconds(5));
  EXPECT_LE(*delay, std::chrono::seconds(22)) << "11 tokens too many, at 30 a minute";
}

TEST(Tenants, AreValidated) {
  const auto engine = OpenEngine(TinyModel(), kDevice, TestEngineOptions());
  GenerateRequest request = Request(Prompt(4), 1);
  request.tenant.weight = 0;
  const auto refused = engine->Submit(request, std::make_shared<CollectingSink>());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::string(refused.status().message()).starts_with("tenant.weight: "));
}

}  // namespace
}  // namespace strata
