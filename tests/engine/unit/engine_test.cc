// The life of requests in a real engine: how they end, what is refused, and
// that nothing stays behind (I4).

#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <future>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/engine/checkpoint/checkpoint_writer.h"
#include "tests/engine/checkpoint/temporary_folder.h"
#include "tests/engine/checkpoint/tokenizer_writer.h"
#include "tests/engine/unit/hooked_sink.h"
#include "tests/engine/unit/manual_clock.h"
#include "tests/engine/unit/timed_engine.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

using absl::StatusCode;
using std::chrono::seconds;

const TestDevice kDevice = {"", kernels::WeightFormat::kF32, 1};
constexpr TokenId kEos = 1501;  // the tiny model's

std::unique_ptr<Engine> Open(const EngineOptions& options = TestEngineOptions(),
                             const Clock* clock = nullptr) {
  return OpenEngine(TinyModel(), kDevice, options, nullptr, clock);
}

std::vector<TokenId> Prompt(int num_tokens, int variant = 0) {
  std::vector<TokenId> prompt;
  for (int i = 0; i < num_tokens; ++i) prompt.push_back((37 * i + 11 * variant + 5) % 1400);
  return prompt;
}

GenerateRequest Request(int num_prompt_tokens, int max_new_tokens, int variant = 0) {
  GenerateRequest request;
  request.prompt = Prompt(num_prompt_tokens, variant);
  request.sampling.temperature = 0.9f;
  request.sampling.seed = static_cast<uint64_t>(variant);
  request.stopping.max_new_tokens = max_new_tokens;
  request.stopping.ignore_eos = true;
  return request;
}

GenerateRequest Speculative(GenerateRequest request, int exit_layer, int num_draft_tokens) {
  request.speculation.mode = Speculation::Mode::kFixed;
  request.speculation.exit_layer = exit_layer;
  request.speculation.num_draft_tokens = num_draft_tokens;
  return request;
}

std::shared_ptr<CollectingSink> Submit(Engine& engine, const GenerateRequest& request) {
  auto sink = std::make_shared<CollectingSink>();
  const auto id = engine.Submit(request, sink);
  EXPECT_TRUE(id.ok()) << id.status();
  return sink;
}

// Submits `request` and returns once the step thread stands at its first delta.
std::shared_ptr<HookedSink> SubmitAndHold(Engine& engine, const GenerateRequest& request,
                                          Gate& gate) {
  auto sink = std::make_shared<HookedSink>(gate.Hook());
  EXPECT_TRUE(engine.Submit(request, sink).ok());
  gate.WaitForArrival();
  return sink;
}

void ExpectNothingLeft(Engine& engine) {
  ASSERT_TRUE(engine.WaitUntilIdle(Instant::max()));
  const EngineLoad load = engine.GetLoad();
  EXPECT_EQ(load.kv_blocks_used, 0);
  EXPECT_EQ(load.exit_cache_rows_used, 0);
  EXPECT_EQ(load.running_requests, 0);
  EXPECT_EQ(load.queued_requests, 0);
}

// ---- Cancellation and time -------------------------------------------------------------------

TEST(Engine, ARequestCancelledBeforeItStartsHearsOnlyThat) {
  const auto engine = Open();
  Gate gate;
  const auto running = SubmitAndHold(*engine, Request(8, 10), gate);
  auto sink = std::make_shared<CollectingSink>();
  const auto id = engine->Submit(Request(8, 10), sink);
  ASSERT_TRUE(id.ok());
  engine->Cancel(*id);
  gate.Release();
  EXPECT_EQ(sink->Wait().code(), StatusCode::kCancelled);
  EXPECT_EQ(sink->sample().started.prompt_tokens, 0);
  EXPECT_TRUE(sink->sample().token_ids.empty());
  EXPECT_TRUE(running->collected.Wait().ok());
  ExpectNothingLeft(*engine);
}

TEST(Engine, ARequestCancelledWhileItRunsEndsWithinARound) {
  const auto engine = Open();
  std::promise<RequestId> id;
  const auto sink = std::make_shared<HookedSink>([&] { engine->Cancel(id.get_future().get()); });
  id.set_value(*engine->Submit(Speculative(Request(8, 400), 3, 4), sink));
  EXPECT_EQ(sink->collected.Wait().code(), StatusCode::kCancelled);
  EXPECT_EQ(sink->collected.sample().token_ids.size(), 1u);
  EXPECT_FALSE(sink->collected.sample().finished);
  ExpectNothingLeft(*engine);
  EXPECT_EQ(sink->collected.times_done(), 1);
}

TEST(Engine, CancellingWhatIsUnknownOrFinishedDoesNothing) {
  const auto engine = Open();
  auto sink = std::make_shared<CollectingSink>();
  const RequestId id = *engine->Submit(Request(8, 4), sink);
  ASSERT_TRUE(sink->Wait().ok());
  engine->Cancel(id);
  engine->Cancel(12345);
  EXPECT_TRUE(Submit(*engine, Request(8, 4))->Wait().ok());
  EXPECT_EQ(sink->times_done(), 1);
}

TEST(Engine, WorkNotDoneByItsDeadlineIsDropped) {
  ManualClock clock;
  const auto engine = Open(TestEngineOptions(), &clock);
  GenerateRequest request = Request(8, 400);
  request.deadline = clock.Now() + seconds(5);
  const auto sink = std::make_shared<HookedSink>([&] { clock.Advance(seconds(5)); });
  ASSERT_TRUE(engine->Submit(request, sink).ok());
  EXPECT_EQ(sink->collected.Wait().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(sink->collected.sample().token_ids.size(), 1u);
  EXPECT_FALSE(sink->collected.sample().finished);
  // Past already: nothing is begun.
  const auto late = Submit(*engine, request);
  EXPECT_EQ(late->Wait().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(late->sample().started.prompt_tokens, 0);
  ExpectNothingLeft(*engine);
}

TEST(Engine, ATimeLimitEndsARequestWithWhatItHas) {
  ManualClock clock;
  const auto engine = Open(TestEngineOptions(), &clock);
  GenerateRequest request = Request(8, 400);
  request.stopping.time_limit = std::chrono::milliseconds(500);
  request.sampling.num_samples = 2;
  const auto sink =
      std::make_shared<HookedSink>([&] { clock.Advance(std::chrono::milliseconds(500)); });
  ASSERT_TRUE(engine->Submit(request, sink).ok());
  EXPECT_TRUE(sink->collected.Wait().ok());
  for (const int i : {0, 1}) {
    const CollectedSample& sample = sink->collected.sample(i);
    ASSERT_TRUE(sample.finished);
    EXPECT_EQ(sample.finished->reason, FinishReason::kTimeLimit);
    EXPECT_EQ(sample.finished->generated_tokens, 1);
  }
  ExpectNothingLeft(*engine);
}

TEST(Engine, ATimeLimitThatPassesInTheQueueStillStartsAndFinishesTheSample) {
  ManualClock clock;
  EngineOptions options = TestEngineOptions();
  options.max_sequences = 1;
  const auto engine = Open(options, &clock);
  Gate gate;
  const auto running = SubmitAndHold(*engine, Request(8, 10), gate);
  GenerateRequest request = Request(8, 400);
  request.stopping.time_limit = std::chrono::milliseconds(500);
  request.output.echo = true;
  const auto sink = Submit(*engine, request);
  clock.Advance(seconds(1));
  gate.Release();
  EXPECT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->sample().started.prompt_tokens, 8);
  EXPECT_EQ(sink->sample().token_ids, Prompt(8));  // the echo
  EXPECT_EQ(sink->sample().finished->reason, FinishReason::kTimeLimit);
  EXPECT_EQ(sink->sample().finished->generated_tokens, 0);
  EXPECT_TRUE(running->collected.Wait().ok());
  ExpectNothingLeft(*engine);
}

// ---- Ends of generation ----------------------------------------------------------------------

class Ends : public testing::TestWithParam<int> {
 protected:
  // With the test's draft length; 0: off.
  CollectedSample Run(const GenerateRequest& request) {
    const CollectedSample sample =
        Generate(*engine_, GetParam() > 0 ? Speculative(request, 4, GetParam()) : request);
    ExpectNothingLeft(*engine_);
    // Figures count what was sent, not what was drafted beyond the end (I5).
    const SpeculationStats& stats = sample.finished->speculation;
    EXPECT_EQ(stats.emitted_tokens, static_cast<int>(sample.token_ids.size()));
    EXPECT_EQ(sample.finished->generated_tokens, stats.emitted_tokens);
    int accepted = 0, by_position = 0, by_exit = 0;
    for (const Delta& delta : sample.deltas) accepted += delta.num_accepted_drafts;
    for (const int count : stats.accepted_per_position) by_position += count;
    for (const auto& [exit, rounds] : stats.rounds_per_exit_layer) by_exit += rounds;
    EXPECT_EQ(stats.accepted_tokens, accepted);
    EXPECT_EQ(stats.accepted_tokens, by_position);
    EXPECT_LE(by_exit, stats.rounds);
    EXPECT_LE(stats.emitted_tokens, stats.accepted_tokens + stats.rounds);
    return sample;
  }

  const std::unique_ptr<Engine> engine_ = Open();
};

TEST_P(Ends, MaxTokens) {
  for (const int most : {1, 2, 7}) {
    const CollectedSample sample = Run(Request(8, most));
    EXPECT_EQ(sample.finished->reason, FinishReason::kMaxTokens);
    EXPECT_EQ(static_cast<int>(sample.token_ids.size()), most);
  }
}

TEST_P(Ends, ContextFull) {
  EngineOptions options = TestEngineOptions();
  options.max_context = 40;
  const auto engine = Open(options);
  const GenerateRequest request = Request(10, 1'000);
  const CollectedSample sample =
      Generate(*engine, GetParam() > 0 ? Speculative(request, 4, GetParam()) : request);
  EXPECT_EQ(sample.finished->reason, FinishReason::kContextFull);
  EXPECT_EQ(sample.token_ids.size(), 30u);
}

TEST_P(Ends, StopToken) {
  const std::vector<TokenId> whole = Run(Request(8, 30)).token_ids;
  const TokenId stop = whole[12];
  const auto first = std::find(whole.begin(), whole.end(), stop);
  GenerateRequest request = Request(8, 30);
  request.stopping.stop_token_ids = {stop};
  const CollectedSample sample = Run(request);
  EXPECT_EQ(sample.finished->reason, FinishReason::kStopToken);
  EXPECT_EQ(sample.token_ids, std::vector<TokenId>(whole.begin(), first + 1));
}

TEST_P(Ends, EosUnlessIgnored) {
  // Likely enough to come soon, not at once.
  GenerateRequest request = Request(8, 200, 3);
  request.sampling.logit_bias = {{kEos, 6.0f}};
  const CollectedSample ignoring = Run(request);
  EXPECT_EQ(ignoring.finished->reason, FinishReason::kMaxTokens);
  const auto first = std::find(ignoring.token_ids.begin(), ignoring.token_ids.end(), kEos);
  ASSERT_NE(first, ignoring.token_ids.end());
  request.stopping.ignore_eos = false;
  const CollectedSample sample = Run(request);
  EXPECT_EQ(sample.finished->reason, FinishReason::kEos);
  EXPECT_EQ(sample.token_ids, std::vector<TokenId>(ignoring.token_ids.begin(), first + 1));
}

// Two characters of the middle of `text`.
std::string StopWithin(const std::string& text) {
  const auto is_ascii = [](char c) { return static_cast<signed char>(c) >= 0; };
  for (size_t i = text.size() / 2; i + 1 < text.size(); ++i) {
    if (is_ascii(text[i]) && is_ascii(text[i + 1])) return text.substr(i, 2);
  }
  ADD_FAILURE() << "no two ASCII characters in: " << text;
  return "?";
}

TEST_P(Ends, StopSequence) {
  const std::string whole = Run(Request(8, 40)).text;
  const std::string stop = StopWithin(whole);
  GenerateRequest request = Request(8, 40);
  request.stopping.stop_sequences = {stop};
  const CollectedSample sample = Run(request);
  EXPECT_EQ(sample.finished->reason, FinishReason::kStopSequence);
  EXPECT_EQ(sample.finished->matched_stop, stop);
  EXPECT_EQ(sample.text, whole.substr(0, whole.find(stop)));
  request.stopping.include_stop_text = true;
  EXPECT_EQ(Run(request).text, whole.substr(0, whole.find(stop) + stop.size()));
}

INSTANTIATE_TEST_SUITE_P(DraftLengths, Ends, testing::Values(0, 1, 4, 8));

// ---- Admission and shutdown ------------------------------------------------------------------

TEST(Engine, AFullQueueRefusesAtOnceAndRecovers) {
  EngineOptions options = TestEngineOptions();
  options.max_sequences = 1;
  options.max_queue = 2;
  const auto engine = Open(options);
  Gate gate;
  const auto running = SubmitAndHold(*engine, Request(8, 4), gate);
  const auto refuse = [&](int num_samples) {
    GenerateRequest request = Request(8, 4);
    request.sampling.num_samples = num_samples;
    const auto sink = std::make_shared<CollectingSink>();
    EXPECT_EQ(engine->Submit(request, sink).status().code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(sink->times_done(), 0);
  };
  const auto first = Submit(*engine, Request(8, 4));
  refuse(2);  // each sample needs a place
  const auto second = Submit(*engine, Request(8, 4));
  refuse(1);
  gate.Release();
  EXPECT_TRUE(first->Wait().ok());
  EXPECT_TRUE(second->Wait().ok());
  ExpectNothingLeft(*engine);
  EXPECT_TRUE(Submit(*engine, Request(8, 4))->Wait().ok());
}

TEST(Engine, AQueueThatTakesTooLongRefusesAtOnceAndRecovers) {
  EngineOptions options = TestEngineOptions();
  options.max_sequences = 1;
  options.max_queue_time = std::chrono::seconds(3);
  ManualClock clock;
  const auto engine = OpenTimedByLayers(options, &clock);
  // Nobody knows yet how long these take.
  Gate gate;
  const auto first = Submit(*engine, Request(8, 400));
  const auto second = std::make_shared<HookedSink>(gate.Hook());
  ASSERT_TRUE(engine->Submit(Request(8, 400), second).ok());
  const auto third = Submit(*engine, Request(8, 400));
  gate.WaitForArrival();  // the first took 2.4 seconds
  const auto sink = std::make_shared<CollectingSink>();
  const absl::Status refused = engine->Submit(Request(8, 4), sink).status();
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(refused.message().find("where 3.0 s are allowed"), std::string::npos) << refused;
  gate.Release();
  EXPECT_TRUE(first->Wait().ok());
  EXPECT_TRUE(second->collected.Wait().ok());
  EXPECT_TRUE(third->Wait().ok());
  ExpectNothingLeft(*engine);
  EXPECT_TRUE(Submit(*engine, Request(8, 4))->Wait().ok());
}

TEST(Engine, BadRequestsAreRefusedAndTheirSinksHearNothing) {
  const auto engine = Open();
  GenerateRequest top_p = Request(8, 4), unknown = Request(8, 4), empty = Request(8, 4);
  top_p.sampling.top_p = 2;
  unknown.prompt = std::vector<TokenId>{1, 2, 1505};
  empty.prompt = std::vector<TokenId>{};
  GenerateRequest long_prompt = Request(512, 4), bad_text = Request(8, 4),
                  long_text = Request(8, 4);
  bad_text.prompt = std::string("a\xff");
  long_text.prompt = std::string(512 * 256 + 1, 'a');
  const std::vector<std::pair<GenerateRequest, StatusCode>> refused = {
      {top_p, StatusCode::kInvalidArgument},    {unknown, StatusCode::kInvalidArgument},
      {empty, StatusCode::kInvalidArgument},    {long_prompt, StatusCode::kOutOfRange},
      {bad_text, StatusCode::kInvalidArgument}, {long_text, StatusCode::kOutOfRange},
  };
  const auto sink = std::make_shared<CollectingSink>();
  for (const auto& [request, code] : refused) {
    EXPECT_EQ(engine->Submit(request, sink).status().code(), code);
  }
  EXPECT_EQ(sink->times_done(), 0);
  EXPECT_TRUE(Submit(*engine, Request(511, 4))->Wait().ok()) << "room for one token";
}

TEST(Engine, StopAdmittingLetsWhatIsAdmittedFinish) {
  const auto engine = Open();
  Gate gate;
  const auto running = SubmitAndHold(*engine, Request(8, 20), gate);
  const auto queued = Submit(*engine, Request(8, 20));
  engine->StopAdmitting();
  const auto refused = std::make_shared<CollectingSink>();
  EXPECT_EQ(engine->Submit(Request(8, 4), refused).status().code(), StatusCode::kUnavailable);
  EXPECT_FALSE(engine->WaitUntilIdle(std::chrono::steady_clock::now()));
  EXPECT_EQ(engine->GetLoad().running_requests + engine->GetLoad().queued_requests, 2);
  gate.Release();
  EXPECT_TRUE(engine->WaitUntilIdle(Instant::max()));
  EXPECT_EQ(running->collected.sample().finished->reason, FinishReason::kMaxTokens);
  EXPECT_EQ(queued->sample().finished->reason, FinishReason::kMaxTokens);
  ExpectNothingLeft(*engine);
}

TEST(Engine, StopEndsRunningAndQueuedRequestsOnce) {
  EngineOptions options = TestEngineOptions();
  options.max_sequences = 2;
  const auto engine = Open(options);
  Gate gate;
  const auto running = SubmitAndHold(*engine, Speculative(Request(8, 400), 2, 4), gate);
  std::vector<std::shared_ptr<CollectingSink>> others;
  for (int i = 0; i < 5; ++i) others.push_back(Submit(*engine, Request(8, 400, i)));
  std::thread stopper([&] { engine->Stop(absl::AbortedError("enough")); });
  while (engine->Submit(Request(8, 4), std::make_shared<CollectingSink>()).ok()) {
    std::this_thread::yield();
  }
  gate.Release();
  stopper.join();
  EXPECT_EQ(running->collected.Wait().code(), StatusCode::kAborted);
  for (const auto& sink : others) EXPECT_EQ(sink->Wait().code(), StatusCode::kAborted);
  engine->Stop(absl::InternalError("again"));
  EXPECT_EQ(running->collected.times_done(), 1);
  for (const auto& sink : others) EXPECT_EQ(sink->times_done(), 1);
  EXPECT_FALSE(engine->Submit(Request(8, 4), others[0]).ok());
  ExpectNothingLeft(*engine);
}

TEST(Engine, DestroyedWithWorkInFlightEndsItAsUnavailable) {
  auto engine = Open();
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (int i = 0; i < 20; ++i) sinks.push_back(Submit(*engine, Request(30, 400, i)));
  sinks[0]->WaitForToken();
  engine.reset();
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->Wait().code(), StatusCode::kUnavailable);
    EXPECT_EQ(sink->times_done(), 1);
  }
}

TEST(Engine, OptionsThatCannotWorkAreRefusedByName) {
  const auto refusal = [](void (*change)(EngineOptions&)) {
    EngineOptions options = TestEngineOptions();
    change(options);
    auto checkpoint = Checkpoint::Open(TinyModel());
    auto tokenizer = Tokenizer::Open(TinyModel(), (*checkpoint)->config().vocab_size);
    return Engine::Create(*std::move(checkpoint), *std::move(tokenizer),
                          kernels::CreateCpuBackend({kernels::WeightFormat::kF32, 1, ""}), options,
                          nullptr, nullptr)
        .status();
  };
  const std::vector<std::pair<std::string, void (*)(EngineOptions&)>> refused = {
      {"max_sequences: ", [](EngineOptions& o) { o.max_sequences = 0; }},
      {"max_batch_tokens: ", [](EngineOptions& o) { o.max_batch_tokens = o.max_sequences - 1; }},
      {"max_queue: ", [](EngineOptions& o) { o.max_queue = -1; }},
      {"max_queue_time: ", [](EngineOptions& o) { o.max_queue_time = -std::chrono::seconds(1); }},
      {"max_prefill_chunk: ", [](EngineOptions& o) { o.max_prefill_chunk = -1; }},
      {"max_context: ", [](EngineOptions& o) { o.max_context = 513; }},
      {"exit layer: ", [](EngineOptions& o) { o.default_exit_layer = 6; }},
      {"draft tokens: ", [](EngineOptions& o) { o.default_num_draft_tokens = 33; }},
      {"KV cache: ", [](EngineOptions& o) { o.kv_cache_bytes = 1; }},
  };
  for (const auto& [name, change] : refused) {
    const absl::Status status = refusal(change);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << name;
    EXPECT_TRUE(std::string(status.message()).starts_with(name)) << status;
  }
}

// ---- What is sent ----------------------------------------------------------------------------

TEST(Engine, EachSampleStartsFinishesAndDependsOnItsIndex) {
  const auto engine = Open();
  GenerateRequest request = Request(8, 12);
  request.sampling.num_samples = 5;
  const auto sink = Submit(*engine, request);
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->times_done(), 1);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(sink->sample(i).started.prompt_tokens, 8);
    EXPECT_EQ(sink->sample(i).started.seed, 0u);
    ASSERT_TRUE(sink->sample(i).finished);
    EXPECT_EQ(sink->sample(i).token_ids.size(), 12u);
    for (int j = 0; j < i; ++j) EXPECT_NE(sink->sample(i).token_ids, sink->sample(j).token_ids);
  }
  EXPECT_EQ(Generate(*engine, Request(8, 12)).token_ids, sink->sample(0).token_ids);
}

TEST(Engine, UnseededSamplesDiffer) {
  const auto engine = Open();
  GenerateRequest request = Request(8, 12);
  request.sampling.seed.reset();
  request.sampling.num_samples = 2;
  const auto sink = Submit(*engine, request);
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_NE(sink->sample(0).token_ids, sink->sample(1).token_ids);
  EXPECT_NE(Generate(*engine, request).token_ids, sink->sample(0).token_ids);
}

TEST(Engine, EchoComesFirstAndIsNotCounted) {
  const auto engine = Open();
  GenerateRequest request = Request(8, 5);
  const CollectedSample plain = Generate(*engine, request);
  request.output.echo = true;
  const CollectedSample echoed = Generate(*engine, request);
  std::vector<TokenId> expected = Prompt(8);
  EXPECT_EQ(echoed.deltas[0].token_ids, expected);
  expected.insert(expected.end(), plain.token_ids.begin(), plain.token_ids.end());
  EXPECT_EQ(echoed.token_ids, expected);
  EXPECT_EQ(echoed.text, engine->tokenizer().Decode(expected));
  EXPECT_EQ(echoed.finished->generated_tokens, 5);
}

TEST(Engine, PromptLogprobsDoNotDependOnTheChunking) {
  GenerateRequest request = Request(40, 3);
  request.output.prompt_logprobs = true;
  request.output.logprobs = 2;
  std::vector<TokenLogprobs> expected;
  for (const int chunk : {0, 1, 3, 39, 40}) {
    EngineOptions options = TestEngineOptions();
    options.max_prefill_chunk = chunk;
    const CollectedSample sample = Generate(*Open(options), request);
    ASSERT_EQ(sample.prompt_logprobs.size(), 39u);
    if (expected.empty()) expected = sample.prompt_logprobs;
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(sample.prompt_logprobs[i].token_id, Prompt(40)[i + 1]);
      EXPECT_EQ(sample.prompt_logprobs[i].logprob, expected[i].logprob) << "chunk " << chunk;
      EXPECT_EQ(sample.prompt_logprobs[i].top.size(), 2u);
    }
  }
}

TEST(Engine, ScoringGeneratesNothing) {
  const auto engine = Open();
  for (const int num_tokens : {1, 2, 17, 512}) {
    GenerateRequest request = Request(num_tokens, 0);
    request.output.prompt_logprobs = true;
    const CollectedSample sample = Generate(*engine, request);
    EXPECT_EQ(sample.finished->reason, FinishReason::kMaxTokens);
    EXPECT_EQ(sample.finished->generated_tokens, 0);
    EXPECT_TRUE(sample.token_ids.empty());
    EXPECT_EQ(static_cast<int>(sample.prompt_logprobs.size()), num_tokens - 1);
  }
  ExpectNothingLeft(*engine);
}

TEST(Engine, ScoringOneTokenFinishesForEverySample) {
  const auto engine = Open();
  GenerateRequest request = Request(1, 0);
  request.output.prompt_logprobs = true;
  request.output.echo = true;
  request.sampling.num_samples = 3;
  const auto sink = Submit(*engine, request);
  EXPECT_TRUE(sink->Wait().ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(sink->sample(i).token_ids, Prompt(1));
    EXPECT_TRUE(sink->sample(i).finished);
  }
  EXPECT_EQ(sink->times_done(), 1);
  ExpectNothingLeft(*engine);
}

TEST(Engine, DraftsAreShownBeforeTheirRoundsTokens) {
  const auto engine = Open();
  GenerateRequest request = Speculative(Request(8, 60), 4, 3);
  const CollectedSample silent = Generate(*engine, request);
  EXPECT_TRUE(silent.drafts.empty());
  request.output.stream_drafts = true;
  const CollectedSample sample = Generate(*engine, request);
  EXPECT_EQ(sample.token_ids, silent.token_ids);
  const SpeculationStats& stats = sample.finished->speculation;
  ASSERT_EQ(stats.rounds_per_exit_layer.size(), 1u);
  EXPECT_EQ(stats.rounds_per_exit_layer[0].first, 4);
  ASSERT_EQ(static_cast<int>(sample.drafts.size()), stats.rounds_per_exit_layer[0].second);
  // The prefill's delta has no drafts; from then on each has its own.
  int drafted = 0;
  for (size_t i = 0; i < sample.drafts.size(); ++i) {
    const DraftEvent& draft = sample.drafts[i];
    const Delta& delta = sample.deltas[i + 1];
    drafted += static_cast<int>(draft.token_ids.size());
    EXPECT_EQ(draft.exit_layer, 4);
    EXPECT_LE(draft.token_ids.size(), 3u);
    ASSERT_LE(delta.num_accepted_drafts, static_cast<int>(draft.token_ids.size()));
    EXPECT_TRUE(std::equal(draft.token_ids.begin(),
                           draft.token_ids.begin() + delta.num_accepted_drafts,
                           delta.token_ids.begin()));
  }
  EXPECT_EQ(drafted, stats.drafted_tokens);
}

// ---- Pools -----------------------------------------------------------------------------------

TEST(Engine, PreemptionChangesNoTokens) {
  EngineOptions options = TestEngineOptions();
  options.max_context = 96;
  options.kv_cache_bytes = KvBytes(Open()->checkpoint().config(), kDevice, 96);
  const auto small = Open(options);
  const auto ample = Open();
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(Request(5 + i, 60, i));
    if (i % 2 == 0) requests.back() = Speculative(requests.back(), 3, 4);
    sinks.push_back(Submit(*small, requests.back()));
  }
  for (size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->Wait().ok());
    EXPECT_EQ(sinks[i]->sample().token_ids, Generate(*ample, requests[i]).token_ids) << i;
  }
  ExpectNothingLeft(*small);
  EXPECT_GT(small->GetCounters().preemptions, 0);
}

TEST(Engine, ThreadsThatSubmitAndCancelAtRandomLeaveNothing) {
  EngineOptions options = TestEngineOptions();
  options.max_sequences = 6;
  options.max_queue = 40;
  options.max_context = 128;
  options.kv_cache_bytes = KvBytes(Open()->checkpoint().config(), kDevice, 200);
  const auto engine = Open(options);
  std::atomic<int> finished = 0, cancelled = 0;
  const auto work = [&](int thread) {
    std::mt19937_64 random(thread);
    for (int i = 0; i < 12; ++i) {
      GenerateRequest request =
          Request(1 + static_cast<int>(random() % 60), 1 + static_cast<int>(random() % 40), i);
      request.sampling.num_samples = 1 + static_cast<int>(random() % 3);
      if (random() % 2 == 0) request = Speculative(request, 1 + static_cast<int>(random() % 5), 4);
      const auto sink = std::make_shared<CollectingSink>();
      const auto id = engine->Submit(request, sink);
      if (!id.ok()) {
        EXPECT_EQ(id.status().code(), StatusCode::kResourceExhausted);
        continue;
      }
      if (random() % 2 == 0) sink->WaitForToken();
      if (random() % 2 == 0) engine->Cancel(*id);
      engine->GetLoad();
      if (random() % 3 == 0) continue;  // nobody waits for it
      const absl::Status status = sink->Wait();
      (status.ok() ? finished : cancelled)++;
      EXPECT_TRUE(status.ok() || status.code() == StatusCode::kCancelled) << status;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
  ExpectNothingLeft(*engine);
  EXPECT_GT(finished, 0);
  EXPECT_GT(cancelled, 0);
}

// ---- Broken weights --------------------------------------------------------------------------

// A model whose embedding of one token is not a number.
void WriteModelWithNanEmbedding(const std::string& folder, TokenId id) {
  struct TinyModel model;
  model.config.vocab_size = kByteTokenizerSize;
  model.config.num_layers = 4;
  model.config.eos_token_ids = {kByteTokenizerSize - 1};
  model.config.tie_word_embeddings = false;
  model.dtype = kernels::DType::kF32;
  std::vector<RawTensor> tensors = RandomTensors(model);
  const auto embedding = std::find_if(tensors.begin(), tensors.end(), [](const RawTensor& tensor) {
    return tensor.name == "model.embed_tokens.weight";
  });
  ASSERT_NE(embedding, tensors.end());
  const std::vector<float> nans(model.config.hidden_size, std::numeric_limits<float>::quiet_NaN());
  std::memcpy(embedding->bytes.data() + id * nans.size() * sizeof(float), nans.data(),
              nans.size() * sizeof(float));
  WriteFile(folder + "/config.json", ConfigJson(model).dump());
  WriteFile(folder + "/model.safetensors", SerializeSafetensors(tensors));
  WriteByteTokenizer(folder);
}

TEST(Engine, LogitsThatAreNotFiniteEndTheirRequestOnly) {
  constexpr TokenId kBroken = 'X';
  const TemporaryFolder folder;
  ASSERT_NO_FATAL_FAILURE(WriteModelWithNanEmbedding(folder.path(), kBroken));
  for (const std::string& isa : kernels::AvailableCpuIsas()) {
    SCOPED_TRACE(isa);
    const auto engine =
        OpenEngine(folder.path(), {isa, kernels::WeightFormat::kF32, 1}, TestEngineOptions());
    GenerateRequest healthy = Speculative(Request(1, 40), 2, 3);
    healthy.prompt = std::vector<TokenId>{'a', 'b', 'c'};
    healthy.sampling.logit_bias = {{kBroken, -1000.0f}};
    GenerateRequest broken = healthy;
    broken.prompt = std::vector<TokenId>{'a', kBroken, 'c', 'd'};
    broken.sampling.num_samples = 2;
    // Breaks while it drafts: the prompt is whole, but every token that follows is the broken one.
    GenerateRequest later = healthy;
    later.sampling.logit_bias = {{kBroken, 1000.0f}};
    const std::vector<TokenId> expected = Generate(*engine, healthy).token_ids;
    std::vector<std::shared_ptr<CollectingSink>> failing, passing;
    for (int i = 0; i < 4; ++i) {
      passing.push_back(Submit(*engine, healthy));
      GenerateRequest request = i % 2 == 0 ? broken : later;
      // Without drafts, only the sweep can notice.
      if (i >= 2) request.speculation = {};
      failing.push_back(Submit(*engine, request));
    }
    for (size_t i = 0; i < failing.size(); ++i) {
      EXPECT_EQ(failing[i]->Wait().code(), StatusCode::kInternal);
      EXPECT_EQ(failing[i]->times_done(), 1);
      // Nothing is sent that was chosen from broken logits.
      EXPECT_EQ(failing[i]->sample().token_ids.size(), i % 2 == 0 ? 0u : 1u);
    }
    for (const auto& sink : passing) {
      EXPECT_TRUE(sink->Wait().ok());
      EXPECT_EQ(sink->sample().token_ids, expected);
    }
    // What they left in their blocks of keys and values harms no later owner.
    EXPECT_EQ(Generate(*engine, healthy).token_ids, expected);
    ExpectNothingLeft(*engine);
  }
}

}  // namespace
}  // namespace strata
