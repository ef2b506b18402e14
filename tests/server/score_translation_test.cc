#include "server/score_translation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/fakes/fake_tokenizer.h"

namespace strata::server {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

RequestLimits Limits(const Tokenizer& tokenizer) {
  return {.vocab_size = tokenizer.vocab_size(),
          .num_layers = 8,
          .max_context = 16,
          .max_prompt_bytes = 1000};
}

std::string Error(const v1::ScoreRequest& request) {
  const FakeTokenizer tokenizer;
  const auto result = TranslateScoreRequest(request, tokenizer, Limits(tokenizer));
  EXPECT_FALSE(result.ok());
  return std::string(result.status().message());
}

v1::ScoreRequest TextRequest(const std::string& context, const std::string& continuation) {
  v1::ScoreRequest request;
  request.set_text(context);
  request.add_continuations(continuation);
  return request;
}

TEST(ScoreTranslation, TokenizesContextAndContinuationTogether) {
  const FakeTokenizer tokenizer;
  const auto prompts = TranslateScoreRequest(TextRequest("ab", "c"), tokenizer, Limits(tokenizer));
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  EXPECT_THAT((*prompts)[0].context, ElementsAre(FakeTokenizer::kBos, 'a', 'b'));
  EXPECT_THAT((*prompts)[0].continuation, ElementsAre('c'));
}

TEST(ScoreTranslation, KeepsTheContextWhereTheJoinedTextWouldChangeIt) {
  const FakeTokenizer tokenizer({"bc"});
  const auto prompts = TranslateScoreRequest(TextRequest("ab", "cd"), tokenizer, Limits(tokenizer));
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  EXPECT_THAT((*prompts)[0].context, ElementsAre(FakeTokenizer::kBos, 'a', 'b'));
  EXPECT_THAT((*prompts)[0].continuation, ElementsAre('c', 'd'));
}

TEST(ScoreTranslation, TakesTokenIdsAsTheyAre) {
  const FakeTokenizer tokenizer;
  v1::ScoreRequest request;
  request.mutable_token_ids()->add_ids(1);
  request.add_continuation_ids()->add_ids(2);
  request.add_continuation_ids()->add_ids(3);
  const auto prompts = TranslateScoreRequest(request, tokenizer, Limits(tokenizer));
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  ASSERT_EQ(prompts->size(), 2u);
  EXPECT_THAT((*prompts)[1].context, ElementsAre(1));
  EXPECT_THAT((*prompts)[1].continuation, ElementsAre(3));
  const GenerateRequest made = MakeScoreRequest((*prompts)[1]);
  EXPECT_THAT(std::get<std::vector<TokenId>>(made.prompt), ElementsAre(1, 3));
  EXPECT_EQ(made.stopping.max_new_tokens, 0);
  EXPECT_TRUE(made.output.prompt_logprobs);
}

TEST(ScoreTranslation, NamesTheBadField) {
  EXPECT_THAT(Error(v1::ScoreRequest()), StartsWith("continuations: exactly one"));
  v1::ScoreRequest request = TextRequest("a", "b");
  request.add_continuation_ids()->add_ids(1);
  EXPECT_THAT(Error(request), StartsWith("continuations: exactly one"));
  request = TextRequest("a", "");
  EXPECT_THAT(Error(request), StartsWith("continuations[0]: must not be empty"));
  request = TextRequest("a", "b");
  request.clear_context();
  EXPECT_THAT(Error(request), StartsWith("context: required"));
  request.mutable_token_ids();
  EXPECT_THAT(Error(request), StartsWith("token_ids.ids: must not be empty"));
  request.mutable_token_ids()->add_ids(5000);
  EXPECT_THAT(Error(request), StartsWith("token_ids.ids[0]: no token id 5000"));
  request = TextRequest("a", "sixteen bytes do not fit");
  EXPECT_THAT(Error(request), StartsWith("continuations[0]: 26 tokens"));
  request = TextRequest("a", "b");
  for (int i = 0; i < 64; ++i) request.add_continuations("b");
  EXPECT_THAT(Error(request), StartsWith("continuations: 65 entries"));
  request.clear_continuations();
  request.add_continuation_ids();
  EXPECT_THAT(Error(request), StartsWith("continuation_ids[0].ids: must not be empty"));
}

TEST(ScoreTranslation, ScoresTheLastTokensOfThePrompt) {
  v1::GenerateResult result;
  v1::SampleResult* sample = result.add_samples();
  for (int i = 0; i < 3; ++i) {
    v1::TokenLogprobs* logprobs = sample->add_prompt_logprobs();
    logprobs->set_token_id(10 + i);
    logprobs->set_logprob(static_cast<float>(-i));
    logprobs->set_is_greedy(i == 1);
  }
  const v1::Score score = MakeScore({.context = {9, 10}, .continuation = {11, 12}}, result);
  EXPECT_THAT(score.token_ids(), ElementsAre(11, 12));
  EXPECT_THAT(score.logprobs(), ElementsAre(-1, -2));
  EXPECT_THAT(score.is_greedy(), ElementsAre(true, false));
  EXPECT_EQ(score.total(), -3);
}

}  // namespace
}  // namespace strata::server
