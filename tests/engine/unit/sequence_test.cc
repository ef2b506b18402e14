#include "engine/sequence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/unit/fake_tokenizer.h"

namespace strata {
namespace {

using testing::ElementsAre;

constexpr TokenId kEos = 0x04;

class SequenceTest : public testing::Test {
 protected:
  SequenceTest() { params_.stopping.max_new_tokens = 10; }

  std::unique_ptr<Sequence> Make(const std::string& prompt, int max_context = 100) {
    auto request = std::make_shared<RequestState>();
    request->params = params_;
    request->prompt = tokenizer_.Encode(prompt, false);
    request->eos_token_ids = {kEos, 0x05};
    request->submitted = Instant(std::chrono::seconds(10));
    return std::make_unique<Sequence>(request, 0, &tokenizer_, max_context, 0);
  }
  static void CommitAll(Sequence& sequence, const std::string& text) {
    for (const char c : text) {
      ASSERT_FALSE(sequence.finish_reason());
      sequence.Commit(c, false, std::nullopt);
    }
  }

  static Delta TakeDelta(Sequence& sequence) {
    const Delta delta = sequence.delta();
    sequence.ClearDelta();
    return delta;
  }

  const FakeTokenizer tokenizer_;
  GenerateRequest params_;
};

TEST_F(SequenceTest, CommittedTokensAndTextGoToTheNextDelta) {
  const auto sequence = Make("abc");
  EXPECT_FALSE(sequence->HasDelta());
  sequence->Commit('d', true, std::nullopt);
  sequence->Commit('e', true, std::nullopt);
  sequence->Commit('f', false, std::nullopt);
  const Delta delta = TakeDelta(*sequence);
  EXPECT_THAT(delta.token_ids, ElementsAre('d', 'e', 'f'));
  EXPECT_EQ(delta.num_accepted_drafts, 2);
  EXPECT_EQ(delta.text, "def");
  EXPECT_FALSE(sequence->HasDelta());
  EXPECT_EQ(sequence->num_prompt_tokens(), 3);
  EXPECT_EQ(sequence->num_generated(), 3);
  EXPECT_EQ(sequence->stats.accepted_tokens, 2);
  EXPECT_EQ(sequence->stats.emitted_tokens, 3);
}

TEST_F(SequenceTest, EchoOpensTheFirstDelta) {
  params_.output.echo = true;
  const auto sequence = Make("abc");
  sequence->Commit('d', false, std::nullopt);
  const Delta delta = TakeDelta(*sequence);
  EXPECT_THAT(delta.token_ids, ElementsAre('a', 'b', 'c', 'd'));
  EXPECT_EQ(delta.text, "abcd");
  EXPECT_EQ(sequence->num_generated(), 1);
  EXPECT_EQ(sequence->stats.emitted_tokens, 1);
}

TEST_F(SequenceTest, LogprobsGoWithTheirTokens) {
  const auto sequence = Make("a");
  sequence->Commit('d', false, TokenLogprobs{'d', -0.5f, true, {}});
  const Delta delta = TakeDelta(*sequence);
  ASSERT_EQ(delta.logprobs.size(), 1u);
  EXPECT_EQ(delta.logprobs[0].logprob, -0.5f);
}

// ---- Ends ------------------------------------------------------------------------------------

TEST_F(SequenceTest, EndsWithMaxTokens) {
  params_.stopping.max_new_tokens = 3;
  const auto sequence = Make("a");
  EXPECT_EQ(sequence->num_tokens_left(), 3);
  CommitAll(*sequence, "xyz");
  EXPECT_EQ(sequence->finish_reason(), FinishReason::kMaxTokens);
  EXPECT_EQ(sequence->num_tokens_left(), 0);
}

TEST_F(SequenceTest, EndsWhenTheContextIsFull) {
  const auto sequence = Make("abc", /*max_context=*/5);
  EXPECT_EQ(sequence->num_tokens_left(), 2);
  CommitAll(*sequence, "xy");
  EXPECT_EQ(sequence->finish_reason(), FinishReason::kContextFull);
}

TEST_F(SequenceTest, EndsWithAnyEosTokenUnlessToldNotTo) {
  for (const TokenId eos : {kEos, kEos + 1}) {
    const auto sequence = Make("a");
    sequence->Commit(eos, false, std::nullopt);
    EXPECT_EQ(sequence->finish_reason(), FinishReason::kEos);
  }
  params_.stopping.ignore_eos = true;
  const auto sequence = Make("a");
  sequence->Commit(kEos, false, std::nullopt);
  EXPECT_FALSE(sequence->finish_reason());
}

TEST_F(SequenceTest, EndsWithAStopTokenEvenWhereEosIsIgnored) {
  params_.stopping.ignore_eos = true;
  params_.stopping.stop_token_ids = {'x', kEos};
  for (const TokenId stop : {TokenId{'x'}, kEos}) {
    const auto sequence = Make("a");
    EXPECT_TRUE(sequence->IsStop(stop));
    sequence->Commit(stop, false, std::nullopt);
    EXPECT_EQ(sequence->finish_reason(), FinishReason::kStopToken);
  }
}

TEST_F(SequenceTest, EndsWithAStopSequenceThatTheTextMayOmitOrKeep) {
  for (const bool include : {false, true}) {
    params_.stopping.stop_sequences = {"END"};
    params_.stopping.include_stop_text = include;
    const auto sequence = Make("a");
    CommitAll(*sequence, "xEND");
    EXPECT_EQ(sequence->finish_reason(), FinishReason::kStopSequence);
    const Delta delta = TakeDelta(*sequence);
    EXPECT_EQ(delta.text, include ? "xEND" : "x");
    EXPECT_EQ(delta.token_ids.size(), 4u);
    EXPECT_EQ(sequence->MakeFinishedEvent({}).matched_stop, "END");
  }
}

TEST_F(SequenceTest, TextHeldBackComesWithTheEnd) {
  params_.stopping.stop_sequences = {"END"};
  params_.stopping.max_new_tokens = 3;
  const auto sequence = Make("a");
  CommitAll(*sequence, "xEN");
  EXPECT_EQ(sequence->finish_reason(), FinishReason::kMaxTokens);
  EXPECT_EQ(TakeDelta(*sequence).text, "xEN");
}

TEST_F(SequenceTest, AnUnfinishedCharacterAtTheEndIsReplacedAndMayBeAStop) {
  params_.stopping.max_new_tokens = 2;
  const auto plain = Make("a");
  CommitAll(*plain, "x");
  plain->Commit(0xe2, false, std::nullopt);
  EXPECT_EQ(TakeDelta(*plain).text, "x\xef\xbf\xbd");
  params_.stopping.stop_sequences = {"\xef\xbf\xbd"};
  const auto stopped = Make("a");
  CommitAll(*stopped, "x");
  stopped->Commit(0xe2, false, std::nullopt);
  EXPECT_EQ(stopped->finish_reason(), FinishReason::kStopSequence);
  EXPECT_EQ(TakeDelta(*stopped).text, "x");
}

// ---- Keys and values -------------------------------------------------------------------------

TEST_F(SequenceTest, BlocksCoverPositionsAndGoBackToThePool) {
  KvPool pool(4);
  const auto sequence = Make("abc");
  EXPECT_EQ(sequence->NumBlocksMissing(0), 0);
  EXPECT_EQ(sequence->NumBlocksMissing(16), 1);
  EXPECT_EQ(sequence->NumBlocksMissing(17), 2);
  sequence->GrowKv(33, pool);
  EXPECT_EQ(sequence->block_table().size(), 3u);
  EXPECT_EQ(sequence->NumBlocksMissing(48), 0);
  sequence->GrowKv(20, pool);
  EXPECT_EQ(pool.num_used(), 3);
  sequence->set_num_computed(33);
  sequence->TruncateKv(17, pool);
  EXPECT_EQ(sequence->block_table().size(), 2u);
  EXPECT_EQ(sequence->num_computed(), 17);
  sequence->TruncateKv(16, pool);
  EXPECT_EQ(pool.num_used(), 1);
  sequence->TruncateKv(0, pool);
  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_EQ(sequence->num_computed(), 0);
}

TEST_F(SequenceTest, DecodesOnceOnlyTheNewestTokenIsPending) {
  const auto sequence = Make("abc");
  EXPECT_EQ(sequence->num_pending(), 3);
  EXPECT_FALSE(sequence->decoding());
  sequence->set_num_computed(2);
  EXPECT_EQ(sequence->num_pending(), 1);
  EXPECT_FALSE(sequence->decoding()) << "the prompt is not finished";
  sequence->set_num_computed(3);
  sequence->Commit('d', false, std::nullopt);
  EXPECT_TRUE(sequence->decoding());
}

TEST_F(SequenceTest, ScoringNeedsNoKvOfTheLastToken) {
  params_.stopping.max_new_tokens = 0;
  const auto sequence = Make("abc");
  EXPECT_EQ(sequence->num_pending(), 2);
  EXPECT_EQ(Make("a")->num_pending(), 0);
}

// ---- Report ----------------------------------------------------------------------------------

TEST_F(SequenceTest, FinishedEventCountsTokensAndTimes) {
  const auto sequence = Make("abc");
  const auto at = [](int second) { return Instant(std::chrono::seconds(second)); };
  sequence->started = true;
  sequence->first_scheduled = at(12);
  sequence->first_token = at(15);
  sequence->last_token = at(19);
  CommitAll(*sequence, "xy");
  sequence->Finish(FinishReason::kTimeLimit);
  const FinishedEvent event = sequence->MakeFinishedEvent(at(30));
  EXPECT_EQ(event.reason, FinishReason::kTimeLimit);
  EXPECT_EQ(event.prompt_tokens, 3);
  EXPECT_EQ(event.generated_tokens, 2);
  EXPECT_EQ(event.timing.queued, std::chrono::seconds(2));
  EXPECT_EQ(event.timing.prefill, std::chrono::seconds(3));
  EXPECT_EQ(event.timing.decode, std::chrono::seconds(4));
}

TEST_F(SequenceTest, TimesOfASampleThatNeverRanAreItsWait) {
  const auto sequence = Make("abc");
  sequence->Finish(FinishReason::kTimeLimit);
  const FinishedEvent event = sequence->MakeFinishedEvent(Instant(std::chrono::seconds(13)));
  EXPECT_EQ(event.timing.queued, std::chrono::seconds(3));
  EXPECT_EQ(event.timing.prefill, Duration::zero());
  EXPECT_EQ(event.timing.decode, Duration::zero());
}

TEST_F(SequenceTest, DraftTextIsForDisplayOnly) {
  const auto sequence = Make("abc");
  EXPECT_EQ(sequence->DraftText(std::vector<TokenId>{'x', 0xe2}), "x\xef\xbf\xbd");
  EXPECT_FALSE(sequence->HasDelta());
  EXPECT_EQ(sequence->tokens().size(), 3u);
}

}  // namespace
}  // namespace strata
