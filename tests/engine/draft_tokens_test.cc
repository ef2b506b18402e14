// Drafts chosen among some tokens on the running engine: what they cost, how
// often they are accepted, and that they change no output. More of the last is
// in equal_tokens_test and distribution_test.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "engine/draft_vocabulary.h"
#include "engine/engine.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"
#include "tests/support/token_counts_file.h"

namespace strata {
namespace {

const TestDevice kDevice = {"", kernels::WeightFormat::kBF16, 2};
constexpr int kVocabSize = 4096;  // the demo model's
constexpr int kQuarter = kVocabSize / 4;
constexpr int kNewTokens = 120;

GenerateRequest Request(const std::string& prompt, float temperature) {
  GenerateRequest request;
  request.prompt = prompt;
  request.sampling.temperature = temperature;
  request.sampling.seed = 1;
  request.stopping.max_new_tokens = kNewTokens;
  request.stopping.ignore_eos = true;
  request.output.logprobs = 0;
  request.speculation.mode = Speculation::Mode::kFixed;
  request.speculation.exit_layer = 8;
  request.speculation.num_draft_tokens = 4;
  return request;
}

std::vector<GenerateRequest> Requests(const std::vector<std::string>& prompts) {
  std::vector<GenerateRequest> requests;
  for (const std::string& prompt : prompts) {
    for (const float temperature : {0.0f, 0.7f}) requests.push_back(Request(prompt, temperature));
  }
  return requests;
}

const std::vector<std::string> kSeenPrompts = {
    "def f(",           "import os\n", "class Stack:\n    def ", "for i in range(",
    "    return self.", "try:\n    ",  "\"\"\"Tests of",         "if __name__ =="};
const std::vector<std::string> kOtherPrompts = {"def main(argv):\n", "import sys\n",
                                                "class Node:\n", "    with open(", "while True:\n"};

struct Outcome {
  std::vector<CollectedSample> samples;
  EngineCounters counters;

  double acceptance() const {
    return static_cast<double>(counters.accepted_tokens) /
           static_cast<double>(counters.drafted_tokens);
  }
  // Tokens per row of the head.
  double head_width() const {
    return static_cast<double>(counters.logits_computed) / static_cast<double>(counters.head_rows);
  }
};

Outcome RunAll(const EngineOptions& options, const std::vector<GenerateRequest>& requests) {
  const auto engine = OpenEngine(DemoModel(), kDevice, options);
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (const GenerateRequest& request : requests) {
    sinks.push_back(std::make_shared<CollectingSink>());
    EXPECT_TRUE(engine->Submit(request, sinks.back()).ok());
  }
  Outcome outcome;
  for (const auto& sink : sinks) {
    EXPECT_TRUE(sink->Wait().ok());
    outcome.samples.push_back(sink->sample());
  }
  engine->WaitUntilIdle(Instant::max());
  outcome.counters = engine->GetCounters();
  return outcome;
}

std::vector<TokenId> GeneratedTokens(const Outcome& outcome) {
  std::vector<TokenId> ids;
  for (const CollectedSample& sample : outcome.samples) {
    ids.insert(ids.end(), sample.token_ids.begin(), sample.token_ids.end());
  }
  return ids;
}

void ExpectSameOutputs(const Outcome& actual, const Outcome& expected) {
  ASSERT_EQ(actual.samples.size(), expected.samples.size());
  for (size_t i = 0; i < expected.samples.size(); ++i) {
    EXPECT_EQ(actual.samples[i].token_ids, expected.samples[i].token_ids) << "request " << i;
    EXPECT_EQ(actual.samples[i].text, expected.samples[i].text) << "request " << i;
    ASSERT_EQ(actual.samples[i].logprobs.size(), expected.samples[i].logprobs.size());
    for (size_t j = 0; j < expected.samples[i].logprobs.size(); ++j) {
      EXPECT_EQ(actual.samples[i].logprobs[j].logprob, expected.samples[i].logprobs[j].logprob);
    }
  }
}

// A draft that is right among all tokens is right among some that hold it: rounds get no shorter.
TEST(DraftTokens, WhereTheyHoldWhatIsGeneratedMoreIsAccepted) {
  const std::vector<GenerateRequest> requests = Requests(kOtherPrompts);
  const Outcome whole = RunAll(TestEngineOptions(), requests);
  const TokenCountsFile counts(GeneratedTokens(whole));
  EngineOptions options = TestEngineOptions();
  options.draft_vocabulary_size = kQuarter;
  options.draft_token_counts = counts.path();
  const Outcome quarter = RunAll(options, requests);
  ExpectSameOutputs(quarter, whole);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_LE(quarter.samples[i].finished->speculation.rounds,
              whole.samples[i].finished->speculation.rounds);
  }
  // Each row of drafting takes a quarter of the head, each row of the sweep all of it.
  EXPECT_EQ(whole.head_width(), kVocabSize);
  const EngineCounters& c = quarter.counters;
  EXPECT_EQ(c.logits_computed,
            c.drafted_tokens * kQuarter + (c.head_rows - c.drafted_tokens) * kVocabSize);
}

// The demo's vocabulary is small and has no long tail, so a quarter of it costs more acceptance
// than a quarter of 128k tokens.
TEST(DraftTokens, AQuarterByOtherTextsIsAcceptedNearlyAsOften) {
  const TokenCountsFile counts(
      GeneratedTokens(RunAll(TestEngineOptions(), Requests(kSeenPrompts))));
  EngineOptions options = TestEngineOptions();
  const Outcome whole = RunAll(options, Requests(kOtherPrompts));
  options.draft_vocabulary_size = kQuarter;
  options.draft_token_counts = counts.path();
  const Outcome quarter = RunAll(options, Requests(kOtherPrompts));
  ExpectSameOutputs(quarter, whole);
  std::printf("accepted %.3f of the drafts among all tokens, %.3f among a quarter\n",
              whole.acceptance(), quarter.acceptance());
  EXPECT_GT(whole.acceptance(), 0.3);
  EXPECT_GT(quarter.acceptance(), 0.75 * whole.acceptance());
}

// Tokens that are never generated: every draft is wrong, and nothing else.
TEST(DraftTokens, UselessTokensCostAcceptanceOnly) {
  const std::vector<GenerateRequest> requests = Requests({kOtherPrompts[0]});
  const Outcome whole = RunAll(TestEngineOptions(), requests);
  std::vector<TokenId> useless;
  for (TokenId id = 0; id < kVocabSize; ++id) {
    const auto generates = [id](const CollectedSample& sample) {
      return std::count(sample.token_ids.begin(), sample.token_ids.end(), id) > 0;
    };
    if (std::none_of(whole.samples.begin(), whole.samples.end(), generates)) useless.push_back(id);
  }
  const TokenCountsFile counts(useless);
  EngineOptions options = TestEngineOptions();
  options.draft_vocabulary_size = 64;
  options.draft_token_counts = counts.path();
  const Outcome outcome = RunAll(options, requests);
  ExpectSameOutputs(outcome, whole);
  EXPECT_EQ(outcome.counters.accepted_tokens, 0);
}

TEST(DraftTokens, LearnsFromTheTraffic) {
  EngineOptions options = TestEngineOptions();
  std::vector<GenerateRequest> requests = Requests(kSeenPrompts);
  const std::vector<GenerateRequest> more = Requests(kOtherPrompts);
  requests.insert(requests.end(), more.begin(), more.end());
  ASSERT_GT(static_cast<int64_t>(requests.size()) * kNewTokens, 3 * DraftVocabulary::kFirstChoice);
  const Outcome whole = RunAll(options, requests);
  options.draft_vocabulary_size = kQuarter;
  const Outcome learnt = RunAll(options, requests);
  ExpectSameOutputs(learnt, whole);
  std::printf("accepted %.3f of the drafts among all tokens, %.3f among those learnt\n",
              whole.acceptance(), learnt.acceptance());
  EXPECT_GT(learnt.acceptance(), 0.75 * whole.acceptance());
  EXPECT_LT(learnt.head_width(), 0.8 * kVocabSize);
}

TEST(DraftTokens, DraftsAmongAllTokensUntilItHasSeenEnough) {
  EngineOptions options = TestEngineOptions();
  options.draft_vocabulary_size = 1;
  const Outcome outcome = RunAll(options, Requests({"def f("}));
  EXPECT_GT(outcome.counters.drafted_tokens, 0);
  EXPECT_EQ(outcome.head_width(), kVocabSize);
}

// End-of-sequence tokens are always drafted, whatever the counts say.
TEST(DraftTokens, HoldsTheEndOfSequence) {
  const TokenCountsFile counts(std::vector<TokenId>{100, 100, 101});
  EngineOptions options = TestEngineOptions();
  options.draft_vocabulary_size = 2;
  options.draft_token_counts = counts.path();
  GenerateRequest request = Request("def f(", 0);
  request.sampling.logit_bias = {{2, 100.0f}};
  request.stopping.max_new_tokens = 10;
  const auto engine = OpenEngine(DemoModel(), kDevice, options);
  const CollectedSample sample = Generate(*engine, request);
  EXPECT_EQ(sample.token_ids, std::vector<TokenId>(10, 2));
  EXPECT_GT(sample.finished->speculation.accepted_tokens, 5);
}

class BadOptions : public testing::Test {
 protected:
  static std::string ErrorOf(const EngineOptions& options) {
    auto checkpoint = Checkpoint::Open(DemoModel());
    auto tokenizer = Tokenizer::Open(DemoModel(), kVocabSize);
    return std::string(Engine::Create(*std::move(checkpoint), *std::move(tokenizer),
                                      kernels::CreateCpuBackend({}), options, nullptr, nullptr)
                           .status()
                           .message());
  }
};

TEST_F(BadOptions, SayWhatIsWrong) {
  EngineOptions options = TestEngineOptions();
  options.draft_vocabulary_size = kVocabSize;
  EXPECT_EQ(ErrorOf(options),
            "draft vocabulary: 4096 is out of range [0, 4095] for a vocabulary of 4096");
  options.draft_vocabulary_size = -1;
  EXPECT_EQ(ErrorOf(options),
            "draft vocabulary: -1 is out of range [0, 4095] for a vocabulary of 4096");
  options.draft_vocabulary_size = 0;
  options.draft_token_counts = "counts";
  EXPECT_EQ(ErrorOf(options),
            "draft token counts: counts has no use without the size of a draft vocabulary");
  options.draft_vocabulary_size = 1;
  options.draft_token_counts = "no/such/file";
  EXPECT_EQ(ErrorOf(options), "no/such/file: no such file");
  const TokenCountsFile counts("1 1\n4096 1\n");
  options.draft_token_counts = counts.path();
  EXPECT_EQ(ErrorOf(options), counts.path() + ":2: token id 4096 is out of range [0, 4095]");
}

}  // namespace
}  // namespace strata
