// Invariant I1: greedy and seeded generation give the same tokens and
// log-probabilities, bit for bit, whatever surrounds the request, and whatever of
// its prompt is found in the prefix cache.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"
#include "tests/support/token_counts_file.h"

namespace strata {
namespace {

// Draws requests and engine settings.
class CaseGenerator {
 public:
  CaseGenerator(uint64_t seed, const ModelConfig& config, int max_prompt, int max_new)
      : random_(seed), config_(config), max_prompt_(max_prompt), max_new_(max_new) {}

  int Int(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }
  float Real(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random_);
  }
  bool Chance(double p) { return std::bernoulli_distribution(p)(random_); }
  TokenId Token() { return Int(0, config_.vocab_size - 1); }

  // Without speculation: how the request runs alone.
  GenerateRequest Request() {
    GenerateRequest request;
    request.prompt = Prompt();
    request.sampling = Sampling();
    if (Chance(0.15)) request.sampling.num_samples = Int(2, 3);
    request.stopping.max_new_tokens = Int(1, max_new_);
    request.stopping.ignore_eos = Chance(0.3);
    if (Chance(0.3)) request.stopping.stop_sequences = {"e", "self", "\n\n"};
    if (Chance(0.2)) request.stopping.stop_token_ids = {Token(), Token()};
    request.output.logprobs = Int(0, 3);
    request.output.prompt_logprobs = Chance(0.2);
    return request;
  }

  Speculation AnySpeculation() {
    Speculation speculation;
    const int kind = Int(0, 9);
    if (kind == 0) return speculation;
    if (kind <= 4) {
      speculation.mode = Speculation::Mode::kAuto;
      if (Chance(0.3)) speculation.num_draft_tokens = Int(1, 4);
      if (Chance(0.3)) speculation.exit_layers = {Int(1, config_.num_layers - 1)};
      return speculation;
    }
    speculation.mode = Speculation::Mode::kFixed;
    speculation.exit_layer = Int(1, config_.num_layers - 1);
    speculation.num_draft_tokens = Int(0, 8);
    return speculation;
  }

 private:
  // Often one that begins like others.
  std::vector<TokenId> Prompt() {
    if (prefixes_.empty() || Chance(0.1)) {
      prefixes_.emplace_back(max_prompt_);
      for (TokenId& id : prefixes_.back()) id = Token();
    }
    std::vector<TokenId> prompt = prefixes_[Int(0, static_cast<int>(prefixes_.size()) - 1)];
    prompt.resize(Int(1, max_prompt_));
    if (Chance(0.8)) {
      const int num_shared = Int(0, static_cast<int>(prompt.size()));
      for (auto id = prompt.begin() + num_shared; id != prompt.end(); ++id) *id = Token();
    }
    return prompt;
  }

  SamplingParams Sampling() {
    SamplingParams sampling;
    sampling.temperature = 0;
    if (Chance(0.7)) {
      sampling.temperature = Real(0.3f, 1.5f);
      sampling.seed = static_cast<uint64_t>(Int(0, 1 << 30));
      if (Chance(0.5)) sampling.top_p = Real(0.3f, 1.0f);
      if (Chance(0.5)) sampling.top_k = Int(1, 50);
      if (Chance(0.3)) sampling.min_p = Real(0.0f, 0.2f);
    }
    if (Chance(0.3)) sampling.repetition_penalty = Real(0.8f, 1.5f);
    if (Chance(0.3)) sampling.presence_penalty = Real(-1.0f, 1.0f);
    if (Chance(0.3)) sampling.frequency_penalty = Real(-1.0f, 1.0f);
    if (Chance(0.3)) sampling.logit_bias = {{Token(), 3.0f}, {Token(), -5.0f}};
    return sampling;
  }

  std::mt19937_64 random_;
  const ModelConfig& config_;
  const int max_prompt_, max_new_;
  std::vector<std::vector<TokenId>> prefixes_;
};

// 0: none.
int AnyDraftVocabulary(CaseGenerator& generate, int vocab_size) {
  const int sizes[] = {0, 1, 16, 64, vocab_size / 2};
  return sizes[generate.Int(0, 4)];
}

bool operator==(const TokenLogprob& a, const TokenLogprob& b) {
  return a.token_id == b.token_id && a.logprob == b.logprob;
}

// Bit for bit: floats are compared with ==.
void ExpectSameLogprobs(const std::vector<TokenLogprobs>& actual,
                        const std::vector<TokenLogprobs>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(actual[i].token_id, expected[i].token_id) << "token " << i;
    EXPECT_EQ(actual[i].logprob, expected[i].logprob) << "token " << i;
    ASSERT_EQ(actual[i].top.size(), expected[i].top.size());
    for (size_t j = 0; j < expected[i].top.size(); ++j) {
      EXPECT_TRUE(actual[i].top[j] == expected[i].top[j]) << "token " << i << ", top " << j;
    }
  }
}

void ExpectSame(const CollectedSample& actual, const CollectedSample& expected) {
  ASSERT_EQ(actual.token_ids, expected.token_ids);
  EXPECT_EQ(actual.text, expected.text);
  EXPECT_EQ(actual.finished->reason, expected.finished->reason);
  EXPECT_EQ(actual.finished->matched_stop, expected.finished->matched_stop);
  ExpectSameLogprobs(actual.logprobs, expected.logprobs);
  ExpectSameLogprobs(actual.prompt_logprobs, expected.prompt_logprobs);
}

struct Setting {
  std::string model;
  TestDevice device;
  int num_cases = 0;
  int max_prompt = 0;
  int max_new = 0;
};

std::vector<CollectedSample> SamplesOf(CollectingSink& sink, const GenerateRequest& request) {
  EXPECT_TRUE(sink.Wait().ok());
  std::vector<CollectedSample> samples;
  for (int i = 0; i < request.sampling.num_samples; ++i) samples.push_back(sink.sample(i));
  return samples;
}

std::vector<CollectedSample> RunAlone(Engine& engine, const GenerateRequest& request) {
  auto sink = std::make_shared<CollectingSink>();
  EXPECT_TRUE(engine.Submit(request, sink).ok());
  return SamplesOf(*sink, request);
}

// Lets the request run to its end from a prompt of few tokens, so that a crowd of such wants more
// blocks as it goes on.
void MakeLong(CaseGenerator& generate, int max_new, GenerateRequest& request) {
  auto& prompt = std::get<std::vector<TokenId>>(request.prompt);
  prompt.resize(std::min<size_t>(prompt.size(), static_cast<size_t>(generate.Int(1, 8))));
  request.stopping = {};
  request.stopping.max_new_tokens = max_new;
  request.stopping.ignore_eos = true;
}

// Runs `requests` at once on `engine`, with random company that is cancelled halfway and some of
// which takes their places.
std::vector<std::vector<CollectedSample>> RunTogether(
    Engine& engine, CaseGenerator& generate, const std::vector<GenerateRequest>& requests) {
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  std::vector<RequestId> company;
  for (const GenerateRequest& request : requests) {
    if (generate.Chance(0.3)) {
      GenerateRequest other = generate.Request();
      other.speculation = generate.AnySpeculation();
      company.push_back(*engine.Submit(other, std::make_shared<CollectingSink>()));
    }
    sinks.push_back(std::make_shared<CollectingSink>());
    const auto id = engine.Submit(request, sinks.back());
    EXPECT_TRUE(id.ok()) << id.status();
  }
  sinks.front()->WaitForToken();
  // Those that run make room for these.
  for (int i = generate.Int(0, 3); i > 0; --i) {
    GenerateRequest urgent = generate.Request();
    urgent.tenant.priority = 1;
    company.push_back(*engine.Submit(urgent, std::make_shared<CollectingSink>()));
    if (generate.Chance(0.5)) sinks.back()->WaitForToken();
  }
  for (const RequestId id : company) engine.Cancel(id);
  std::vector<std::vector<CollectedSample>> samples;
  for (size_t i = 0; i < sinks.size(); ++i) samples.push_back(SamplesOf(*sinks[i], requests[i]));
  return samples;
}

// An engine whose batches, chunks, pool and cache are drawn by chance.
EngineOptions AnyOptions(CaseGenerator& generate, const Setting& setting, const TestDevice& device,
                         const ModelConfig& config) {
  EngineOptions options = TestEngineOptions();
  options.max_sequences = generate.Int(1, 8);
  options.max_batch_tokens = generate.Int(options.max_sequences, generate.Chance(0.3) ? 512 : 64);
  options.max_prefill_chunk = generate.Int(1, generate.Chance(0.3) ? 512 : 40);
  options.prefix_cache = generate.Chance(0.8);
  // Often too small for all at once, so that sequences are preempted.
  options.max_context = setting.max_prompt + setting.max_new + 1;
  options.kv_cache_bytes = KvBytes(config, device, options.max_context) *
                           (generate.Chance(0.5) ? 1 : generate.Int(1, 12));
  options.draft_vocabulary_size = AnyDraftVocabulary(generate, config.vocab_size);
  return options;
}

void ExpectNothingLeft(Engine& engine) {
  engine.WaitUntilIdle(Instant::max());
  EXPECT_EQ(engine.GetLoad().kv_blocks_used, 0);
  EXPECT_EQ(engine.GetLoad().exit_cache_rows_used, 0);
}

// How often what is under test has happened.
struct Seen {
  int64_t preemptions = 0;
  int64_t cached_tokens = 0;
  int64_t drafted_by_auto = 0;
};

void RunSetting(const Setting& setting, uint64_t seed, Seen* seen) {
  SCOPED_TRACE(setting.model + " " + NameOf(setting.device));
  // Each sample alone, autoregressively, on one thread, prompts in one piece, nothing cached.
  EngineOptions plain = TestEngineOptions();
  plain.max_sequences = 1;
  plain.prefix_cache = false;
  const auto alone = OpenEngine(setting.model, setting.device, plain);
  const ModelConfig& config = alone->checkpoint().config();
  CaseGenerator generate(seed, config, setting.max_prompt, setting.max_new);
  for (int done = 0; done < setting.num_cases;) {
    TestDevice device = setting.device;
    device.num_threads = device.num_ranks * (generate.Chance(0.5) ? 2 : 3);
    EngineOptions options = AnyOptions(generate, setting, device, config);
    const bool is_squeezed = generate.Chance(0.3);
    if (is_squeezed) {
      options.max_sequences = 8;
      options.max_batch_tokens = std::max(options.max_batch_tokens, options.max_sequences);
      options.kv_cache_bytes = KvBytes(config, device, options.max_context);
    }
    std::vector<TokenId> frequent(config.vocab_size / 2);
    for (TokenId& id : frequent) id = generate.Token();
    const TokenCountsFile counts(frequent);
    if (options.draft_vocabulary_size > 0) options.draft_token_counts = counts.path();
    const auto crowded = OpenEngine(setting.model, device, options);

    std::vector<GenerateRequest> requests;
    std::vector<std::vector<CollectedSample>> expected;
    for (int i = generate.Int(4, 10); i > 0; --i, ++done) {
      requests.push_back(generate.Request());
      if (is_squeezed) MakeLong(generate, setting.max_new, requests.back());
      expected.push_back(RunAlone(*alone, requests.back()));
      requests.back().speculation = generate.AnySpeculation();
    }
    const auto actual = RunTogether(*crowded, generate, requests);
    for (size_t i = 0; i < expected.size(); ++i) {
      SCOPED_TRACE("case " + std::to_string(done - static_cast<int>(expected.size() - i)) +
                   ", exit " + std::to_string(requests[i].speculation.exit_layer) + ", drafts " +
                   std::to_string(requests[i].speculation.num_draft_tokens) +
                   ", draft vocabulary " + std::to_string(options.draft_vocabulary_size));
      for (size_t j = 0; j < expected[i].size(); ++j) {
        ExpectSame(actual[i][j], expected[i][j]);
        if (requests[i].speculation.mode != Speculation::Mode::kAuto) continue;
        seen->drafted_by_auto += actual[i][j].finished->speculation.drafted_tokens;
      }
    }
    ExpectNothingLeft(*crowded);
    seen->preemptions += crowded->GetCounters().preemptions;
    seen->cached_tokens += crowded->GetCounters().cached_tokens;
  }
}

class EqualTokens : public testing::TestWithParam<TestDevice> {
 protected:
  // How much `auto` drafts depends on how fast the machine is at that moment; at some time it does.
  static void TearDownTestSuite() {
    if (num_demo_runs < static_cast<int>(AllTestDevices().size())) return;
    EXPECT_GT(drafted_by_auto, 0);
  }
  static int64_t drafted_by_auto;
  static int num_demo_runs;
};
int64_t EqualTokens::drafted_by_auto = 0;
int EqualTokens::num_demo_runs = 0;

TEST_P(EqualTokens, TinyModelWhateverTheBatchChunksThreadsCachePreemptionAndSpeculation) {
  Seen seen;
  RunSetting({TinyModel(), GetParam(), 160, 60, 40}, 1, &seen);
  EXPECT_GT(seen.preemptions, 0);
  EXPECT_GT(seen.cached_tokens, 0);
}

TEST_P(EqualTokens, DemoModelWhateverTheBatchChunksThreadsCachePreemptionAndSpeculation) {
  Seen seen;
  RunSetting({DemoModel(), GetParam(), 40, 40, 24}, 2, &seen);
  EXPECT_GT(seen.cached_tokens, 0);
  drafted_by_auto += seen.drafted_by_auto;
  ++num_demo_runs;
}

// Long prompts, so that chunks of every size matter; on the fastest kernels only.
TEST(EqualTokensOfLongPrompts, WhateverIsFoundInTheCacheAndHowItIsCut) {
  Seen seen;
  RunSetting({TinyModel(), {"", kernels::WeightFormat::kF32, 1}, 60, 440, 24}, 3, &seen);
  EXPECT_GT(seen.cached_tokens, 2'000);
}

// The best kernel set over ranks: the tiny model has fewer heads of keys and values than four.
// Outputs are compared within a number of ranks, since that changes the order of sums.
std::vector<TestDevice> Groups() {
  std::vector<TestDevice> groups;
  for (const kernels::WeightFormat weights : kernels::kCpuWeightFormats) {
    groups.push_back({"", weights, 1, 2});
  }
  groups.push_back({"", kernels::WeightFormat::kF32, 1, 4});
  return groups;
}

class EqualTokensOverRanks : public testing::TestWithParam<TestDevice> {};

TEST_P(EqualTokensOverRanks, TinyModelWhateverTheBatchChunksThreadsPreemptionAndSpeculation) {
  Seen seen;
  RunSetting({TinyModel(), GetParam(), 50, 60, 40}, 3, &seen);
}

TEST_P(EqualTokensOverRanks, DemoModelWhateverTheBatchChunksThreadsPreemptionAndSpeculation) {
  Seen seen;
  RunSetting({DemoModel(), GetParam(), 10, 40, 24}, 4, &seen);
}

INSTANTIATE_TEST_SUITE_P(Groups, EqualTokensOverRanks, testing::ValuesIn(Groups()),
                         [](const auto& info) { return "best" + NameOf(info.param); });

INSTANTIATE_TEST_SUITE_P(Devices, EqualTokens, testing::ValuesIn(AllTestDevices()),
                         [](const auto& info) { return NameOf(info.param); });

}  // namespace
}  // namespace strata
