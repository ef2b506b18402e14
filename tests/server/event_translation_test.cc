#include "server/event_translation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/fakes/fake_tokenizer.h"

namespace strata::server {
namespace {

std::vector<std::string> RunTexts(const v1::Delta& delta) {
  std::vector<std::string> texts;
  std::string rest = delta.text();
  for (const v1::TokenRun& run : delta.runs()) {
    texts.push_back((run.drafted() ? "+" : "-") + rest.substr(0, run.text_bytes()));
    rest = rest.substr(run.text_bytes());
  }
  EXPECT_EQ(rest, "");
  return texts;
}

strata::Delta MakeDelta(std::vector<TokenId> ids, int accepted, std::string text) {
  strata::Delta delta;
  delta.token_ids = std::move(ids);
  delta.num_accepted_drafts = accepted;
  delta.text = std::move(text);
  return delta;
}

TEST(EventTranslation, TellsDraftedTextFromTheModelsOwn) {
  const FakeTokenizer tokenizer;
  EventTranslation translation(&tokenizer, /*echo=*/false);
  const v1::Delta delta = translation.Delta(0, MakeDelta({'a', 'b', 'c'}, 2, "abc"));
  EXPECT_THAT(RunTexts(delta), ::testing::ElementsAre("+ab", "-c"));
  EXPECT_EQ(delta.runs(0).num_tokens(), 2u);
  EXPECT_EQ(delta.runs(1).num_tokens(), 1u);
  EXPECT_THAT(RunTexts(translation.Delta(0, MakeDelta({'d'}, 0, "d"))),
              ::testing::ElementsAre("-d"));
}

TEST(EventTranslation, CountsHeldBackText) {
  const FakeTokenizer tokenizer;
  EventTranslation translation(&tokenizer, /*echo=*/false);
  // "b" and "c" may become a stop sequence and come later.
  EXPECT_THAT(RunTexts(translation.Delta(0, MakeDelta({'a', 'b', 'c'}, 2, "a"))),
              ::testing::ElementsAre("+a", "-"));
  EXPECT_THAT(RunTexts(translation.Delta(0, MakeDelta({'d', 'e'}, 1, "bcde"))),
              ::testing::ElementsAre("+bcd", "-e"));
}

TEST(EventTranslation, NeverCutsACharacter) {
  const FakeTokenizer tokenizer;
  EventTranslation translation(&tokenizer, /*echo=*/false);
  const v1::Delta delta = translation.Delta(0, MakeDelta({'a', 0xc3, 0xa9}, 2, "a\u00e9"));
  EXPECT_THAT(RunTexts(delta), ::testing::ElementsAre("+a", "-\u00e9"));
}

TEST(EventTranslation, AnEchoedPromptHoldsNothingBack) {
  const FakeTokenizer tokenizer({" prompt"});
  EventTranslation translation(&tokenizer, /*echo=*/true);
  translation.Delta(0, MakeDelta({FakeTokenizer::kFirstMerged}, 0, "prompt"));
  EXPECT_THAT(RunTexts(translation.Delta(0, MakeDelta({'a', 'b'}, 1, "ab"))),
              ::testing::ElementsAre("+a", "-b"));
}

TEST(EventTranslation, CarriesLogprobsWithPieces) {
  const FakeTokenizer tokenizer;
  EventTranslation translation(&tokenizer, /*echo=*/false);
  strata::Delta delta = MakeDelta({'a'}, 0, "a");
  delta.logprobs.push_back({'a', -0.5f, true, {{'a', -0.5f}, {FakeTokenizer::kBos, -2}}});
  const v1::TokenLogprobs proto = translation.Delta(0, delta).logprobs(0);
  EXPECT_EQ(proto.token_id(), 97u);
  EXPECT_EQ(proto.logprob(), -0.5f);
  EXPECT_EQ(proto.text(), "a");
  EXPECT_TRUE(proto.is_greedy());
  ASSERT_EQ(proto.top_size(), 2);
  EXPECT_EQ(proto.top(1).text(), "<s>");
}

TEST(EventTranslation, CarriesTheFinish) {
  const FakeTokenizer tokenizer;
  const EventTranslation translation(&tokenizer, /*echo=*/false);
  FinishedEvent event;
  event.reason = FinishReason::kStopSequence;
  event.matched_stop = "stop";
  event.prompt_tokens = 3;
  event.generated_tokens = 4;
  event.speculation = {.rounds = 2,
                       .drafted_tokens = 8,
                       .accepted_tokens = 2,
                       .emitted_tokens = 4,
                       .accepted_per_position = {1, 1},
                       .rounds_per_exit_layer = {{5, 2}}};
  event.timing.queued = std::chrono::milliseconds(1);
  event.timing.prefill = std::chrono::milliseconds(2);
  event.timing.decode = std::chrono::milliseconds(3);
  const v1::Finished finished = translation.Finished(event);
  EXPECT_EQ(finished.reason(), v1::FINISH_REASON_STOP_SEQUENCE);
  EXPECT_EQ(finished.matched_stop(), "stop");
  EXPECT_EQ(finished.usage().total_tokens(), 7u);
  EXPECT_EQ(finished.speculation().acceptance_rate(), 0.25);
  EXPECT_THAT(finished.speculation().accepted_per_position(), ::testing::ElementsAre(1, 1));
  EXPECT_EQ(finished.speculation().rounds_per_exit_layer().at(5), 2u);
  EXPECT_EQ(finished.timing().queued_ms(), 1);
  EXPECT_EQ(finished.timing().prefill_ms(), 2);
  EXPECT_EQ(finished.timing().decode_ms(), 3);
}

}  // namespace
}  // namespace strata::server
