// Tokens that several emulated GPUs choose, each for itself from what all have computed: those of
// the engine's own choices, whatever is drafted, waited for once a round; and ranks that go wrong
// there.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/cuda/emulated_ranks.h"
#include "tests/cuda/small_requests.h"
#include "tests/fakes/faulty_rank.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/token_counts_file.h"

namespace strata {
namespace {

using cuda_emulator::Schedule;
using kernels::RankDevice;
using kernels::WeightFormat;
using ::testing::HasSubstr;

GenerateRequest Request(int prompt_tokens, int max_new_tokens = 8) {
  return GreedyRequest(RandomPrompt(prompt_tokens, static_cast<uint32_t>(prompt_tokens)),
                       max_new_tokens);
}

// Greedy and seeded, plainly and with what only a whole row tells; log-probabilities and drafts
// that the host asks for within a round.
std::vector<GenerateRequest> SomeRequests() {
  std::vector<GenerateRequest> requests = {Request(1), Request(9), Request(17), Request(23)};
  requests[1].sampling.temperature = 0.9f;
  requests[1].sampling.seed = 5;
  requests[2].sampling.temperature = 1.2f;
  requests[2].sampling.seed = 6;
  requests[2].sampling.top_p = 0.9f;
  requests[2].sampling.repetition_penalty = 1.2f;
  requests[2].sampling.logit_bias = {{3, 2.0f}, {1500, 4.0f}};
  requests[3].output.logprobs = 2;
  requests[3].output.stream_drafts = true;
  return requests;
}

void SpeculateInAll(std::vector<GenerateRequest>& requests) {
  Speculate(requests[0], 2, 3);
  Speculate(requests[1], 4, 2);
  Speculate(requests[2], 3, 4);
  Speculate(requests[3], 5, 3);
}

// All side by side.
std::vector<CollectedSample> GenerateAll(Engine& engine,
                                         const std::vector<GenerateRequest>& requests) {
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (const GenerateRequest& request : requests) {
    sinks.push_back(std::make_shared<CollectingSink>());
    EXPECT_TRUE(engine.Submit(request, sinks.back()).ok());
  }
  std::vector<CollectedSample> samples;
  for (const auto& sink : sinks) {
    const absl::Status status = sink->Wait();
    EXPECT_TRUE(status.ok()) << status;
    samples.push_back(sink->sample());
  }
  return samples;
}

std::unique_ptr<Engine> Open(std::vector<RankDevice> ranks,
                             const EngineOptions& options = SmallOptions()) {
  auto engine = OpenOver(std::move(ranks), options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

// Whose logits the engine reads back, and chooses from by itself.
std::vector<RankDevice> WithoutChoosers(std::vector<RankDevice> ranks) {
  for (RankDevice& rank : ranks) rank = MakeFaulty(std::move(rank), [](const std::string&) {});
  return ranks;
}

class RankChoicesOver : public testing::TestWithParam<int> {};

// Without drafts, one after the other, chosen on the host; then all in one batch, with drafts,
// chosen on the devices, in another order of threads.
TEST_P(RankChoicesOver, AreTheEnginesWhateverIsDrafted) {
  std::vector<GenerateRequest> requests = SomeRequests();
  std::vector<CollectedSample> expected;
  {
    const auto on_host = Open(WithoutChoosers(OpenRanks(GetParam(), kLong)));
    for (const GenerateRequest& request : requests) expected.push_back(Generate(*on_host, request));
  }
  SpeculateInAll(requests);
  const auto on_devices = Open(OpenRanks(GetParam(), kLong, WeightFormat::kF32, Schedule::kRandom));
  const std::vector<CollectedSample> actual = GenerateAll(*on_devices, requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    ExpectSame(actual[i], expected[i]);
    EXPECT_GT(actual[i].finished->speculation.drafted_tokens, 0);
  }
  EXPECT_GT(on_devices->GetCounters().accepted_tokens, 0);
  EXPECT_FALSE(actual[3].drafts.empty());
}

// A round is told to all devices as a whole, and each is waited for once.
TEST_P(RankChoicesOver, WaitOncePerRound) {
  const auto engine = Open(OpenRanks(GetParam(), kLong, WeightFormat::kBF16));
  for (const float temperature : {0.0f, 1.0f}) {
    GenerateRequest request = Request(9, 10);
    request.sampling.temperature = temperature;
    Speculate(request, 2, 4);
    Generate(*engine, request);  // buffers have grown
    engine->WaitUntilIdle(Instant::max());
    const int64_t before = cuda_emulator::CurrentCounters().synchronizations;
    const CollectedSample sample = Generate(*engine, request);
    engine->WaitUntilIdle(Instant::max());
    const int64_t waits = cuda_emulator::CurrentCounters().synchronizations - before;
    EXPECT_EQ(waits, GetParam() * sample.finished->speculation.rounds);
    EXPECT_GT(sample.finished->speculation.drafted_tokens, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(All, RankChoicesOver, testing::Values(2, 4));

// What one GPU chooses where margins allow.
TEST(RankChoices, AreThoseOfOneGpu) {
  GenerateRequest request = Request(19);
  request.output.logprobs = 2;
  const CollectedSample one = Generate(*Open(OpenRanks(1, kLong)), request);
  request.output.logprobs.reset();
  Speculate(request, 3, 3);
  int compared = 0;
  for (const int num_ranks : {2, 4}) {
    const CollectedSample sample = Generate(*Open(OpenRanks(num_ranks, kLong)), request);
    for (size_t i = 0; i < one.token_ids.size(); ++i, ++compared) {
      const auto& top = one.logprobs[i].top;
      if (top[0].logprob - top[1].logprob < 1e-3f) break;
      ASSERT_EQ(sample.token_ids[i], one.token_ids[i]) << num_ranks << " ranks, token " << i;
    }
  }
  EXPECT_GT(compared, 8);
}

// Draws are everybody's too. If ranks had gone on with different drafts, keys and values would be
// of no text, and so the log-probabilities would not be those of the text that came out.
TEST(RankChoices, OfUnseededDraftsAreTheSameInAllRanks) {
  for (const Verification verification : {Verification::kBlock, Verification::kToken}) {
    EngineOptions options = SmallOptions();
    options.verification = verification;
    options.prefix_cache = false;
    const auto engine = Open(OpenRanks(2, kLong), options);
    GenerateRequest request = Request(9, 12);
    request.sampling.temperature = 0.8f;
    request.output.logprobs = 0;
    Speculate(request, 5, 3);
    const CollectedSample drawn = Generate(*engine, request);
    EXPECT_GT(drawn.finished->speculation.drafted_tokens, 0);
    GenerateRequest again = Request(9, 1);
    std::vector<TokenId> text = RandomPrompt(9, 9);
    text.insert(text.end(), drawn.token_ids.begin(), drawn.token_ids.end());
    again.prompt = text;
    again.output.prompt_logprobs = true;
    again.output.logprobs = 0;
    const CollectedSample scored = Generate(*engine, again);
    ASSERT_EQ(scored.prompt_logprobs.size(), text.size() - 1);
    for (size_t i = 0; i < drawn.logprobs.size(); ++i) {
      ASSERT_EQ(drawn.logprobs[i].logprob, scored.prompt_logprobs[8 + i].logprob) << "token " << i;
    }
  }
}

// Drafts from a head of some tokens: of all ranks, and of one rank only.
TEST(RankChoices, AreTheSameWithDraftsFromSomeTokens) {
  GenerateRequest request = Request(13, 12);
  request.sampling.temperature = 0.8f;
  request.sampling.seed = 3;
  const CollectedSample expected = Generate(*Open(OpenRanks(2, kLong)), request);
  Speculate(request, 5, 3);
  for (const int most : {1505, 700}) {
    std::vector<TokenId> some = {expected.token_ids[1] % most, expected.token_ids[3] % most};
    for (TokenId id = 0; id < most; id += 7) some.push_back(id);
    const TokenCountsFile counts(some);
    EngineOptions options = SmallOptions();
    options.draft_token_counts = counts.path();
    options.draft_vocabulary_size = 40;
    const auto engine = Open(OpenRanks(2, kLong), options);
    const CollectedSample sample = Generate(*engine, request);
    EXPECT_EQ(sample.token_ids, expected.token_ids);
    EXPECT_GT(sample.finished->speculation.drafted_tokens, 0);
  }
}

// ---- Ranks that go wrong ---------------------------------------------------

// Without order in its sums a group gathers nothing but logits.
TEST(RankChoicesFailing, WhatNcclReportsEndsTheEngine) {
  for (const auto& [failing, reason] : {
           std::pair("ncclAllGather", "rank [01]: NCCL: unhandled cuda error"),
           std::pair("ncclCommGetAsyncError", "rank [01]: NCCL: remote process exited"),
       }) {
    SCOPED_TRACE(failing);
    const auto engine = Open(OpenRanks(2, kLong, WeightFormat::kF32, Schedule::kForward,
                                       size_t{1} << 30, /*deterministic=*/false));
    Generate(*engine, Request(5, 2));
    engine->WaitUntilIdle(Instant::max());
    cuda_emulator::Configure({.lazy_streams = true, .num_devices = 2, .failing = failing});
    const auto sink = std::make_shared<CollectingSink>();
    ASSERT_TRUE(engine->Submit(Request(5), sink).ok());
    EXPECT_EQ(sink->Wait().code(), absl::StatusCode::kInternal);
    EXPECT_EQ(sink->times_done(), 1);
    EXPECT_THAT(std::string(engine->failure().message()),
                testing::ContainsRegex(std::string("the engine has failed: .*") + reason));
    EXPECT_TRUE(engine->WaitUntilIdle(Instant::max()));
    EXPECT_EQ(engine->GetLoad().kv_blocks_used, 0);
  }
}

// One rank throws before it gives its logits, or does not come to give them.
TEST(RankChoicesFailing, ARankWithoutItsLogitsEndsTheEngine) {
  for (const bool throws : {true, false}) {
    SCOPED_TRACE(throws ? "throws" : "does not come");
    std::promise<void> release;
    const auto serving = std::make_shared<std::atomic<bool>>(false);
    EngineOptions options = SmallOptions();
    options.rank_timeout = std::chrono::milliseconds(300);
    {
      auto ranks = OpenRanks(2, options.rank_timeout);
      ranks[1].communicator = std::make_unique<FaultyCommunicator>(
          std::move(ranks[1].communicator),
          [=, released = release.get_future().share()](const std::string& operation) {
            if (!*serving || operation != "AllGather") return;
            if (throws) throw kernels::DeviceError("device lost");
            released.wait();
          });
      const auto engine = Open(std::move(ranks), options);
      *serving = true;
      GenerateRequest request = Request(5);
      Speculate(request, 2, 3);
      const auto sink = std::make_shared<CollectingSink>();
      ASSERT_TRUE(engine->Submit(request, sink).ok());
      const absl::Status status = sink->Wait();
      EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr(throws ? "rank 1: device lost"
                                   : "rank 1 has not finished within 300 ms of the others"));
      EXPECT_TRUE(engine->WaitUntilIdle(Instant::max()));
      EXPECT_EQ(engine->GetLoad().kv_blocks_used, 0);
    }
    release.set_value();
    // A thread that was left behind ends with what it holds.
    while (serving.use_count() > 1) std::this_thread::yield();
  }
}

}  // namespace
}  // namespace strata
