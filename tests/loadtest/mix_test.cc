#include "loadtest/generator/mix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace strata::loadtest {
namespace {

TEST(ParseMix, ReadsEveryField) {
  const auto mix = ParseMix(R"([
    {"name": "chat", "weight": 3, "request": {"text": "hi", "sampling": {"temperature": 0.5},
     "speculation": {"fixed": {"exitLayer": 2}}}, "max_new_tokens": [8, 32], "cancel": 0.25},
    {"prompt_tokens": 100}])");
  ASSERT_TRUE(mix.ok()) << mix.status();
  ASSERT_EQ(mix->size(), 2u);
  const MixEntry& chat = (*mix)[0];
  EXPECT_EQ(chat.name, "chat");
  EXPECT_EQ(chat.weight, 3);
  EXPECT_EQ(chat.request.text(), "hi");
  EXPECT_FLOAT_EQ(chat.request.sampling().temperature(), 0.5f);
  EXPECT_EQ(chat.request.speculation().fixed().exit_layer(), 2u);
  EXPECT_EQ(chat.max_new_tokens->least, 8);
  EXPECT_EQ(chat.max_new_tokens->most, 32);
  EXPECT_EQ(chat.cancel_share, 0.25);
  EXPECT_EQ((*mix)[1].name, "entry 1");
  EXPECT_EQ((*mix)[1].prompt_tokens->least, 100);
}

TEST(ParseMix, SaysWhatIsWrong) {
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"", "not JSON"},
           {"{}", "no list"},
           {"[]", "no list"},
           {"[1]", "no object"},
           {R"([{"request": {"text": "a"}, "wieght": 1}])", "wieght"},
           {R"([{"request": {"text": "a"}, "weight": -1}])", "weight"},
           {R"([{"request": {"text": "a"}, "weight": 0}])", "all weights are zero"},
           {R"([{"request": {"txt": "a"}}])", "entry 0: request"},
           {R"([{"request": {}}])", "has no prompt"},
           {R"([{"name": 3, "prompt_tokens": 1}])", "name"},
           {R"([{"prompt_tokens": 0}])", "prompt_tokens"},
           {R"([{"prompt_tokens": [9, 3]}])", "prompt_tokens"},
           {R"([{"prompt_tokens": 1, "shared_tokens": 0}])", "shared_tokens"},
           {R"([{"request": {"text": "a"}, "shared_tokens": 1}])", "shared_tokens"},
           {R"([{"prompt_tokens": 1, "max_new_tokens": "8"}])", "max_new_tokens"},
           {R"([{"prompt_tokens": 1, "cancel": 1.5}])", "cancel"}}) {
    const auto mix = ParseMix(text);
    ASSERT_FALSE(mix.ok()) << text;
    EXPECT_NE(std::string(mix.status().message()).find(words), std::string::npos) << mix.status();
  }
}

TEST(CallPlanner, PromptsBeginWithTheTokensThatTheirEntryShares) {
  const std::string_view mix = R"([{"prompt_tokens": [8, 60], "shared_tokens": 40},
                                   {"prompt_tokens": [8, 60], "shared_tokens": 40}])";
  CallPlanner planner(*ParseMix(mix), /*vocab_size=*/50'000, /*seed=*/3);
  std::vector<std::vector<uint32_t>> longest(2);
  int ends_alike = 0;
  for (int i = 0; i < 400; ++i) {
    const PlannedCall call = planner.Next({});
    const auto& prompt = call.request.token_ids().ids();
    std::vector<uint32_t>& seen = longest[call.entry];
    const int both = std::min(prompt.size(), static_cast<int>(seen.size()));
    for (int k = 0; k < std::min(both, 40); ++k) ASSERT_EQ(prompt[k], seen[k]);
    for (int k = 40; k < both; ++k) ends_alike += prompt[k] == seen[k] ? 1 : 0;
    if (prompt.size() > both) seen.assign(prompt.begin(), prompt.end());
  }
  EXPECT_LE(ends_alike, 2);
  EXPECT_NE(longest[0], longest[1]);
}

std::vector<MixEntry> TwoEntries() {
  return *ParseMix(R"([
    {"name": "often", "weight": 9, "prompt_tokens": [2, 5], "max_new_tokens": [10, 20]},
    {"name": "seldom", "weight": 1, "request": {"text": "x"}, "max_new_tokens": 4, "cancel": 0.5}])");
}

TEST(CallPlanner, DrawsByWeightWithinTheRanges) {
  CallPlanner planner(TwoEntries(), /*vocab_size=*/50, /*seed=*/5);
  constexpr int kCalls = 4000;
  int seldom = 0, cancelled = 0;
  for (int i = 0; i < kCalls; ++i) {
    const PlannedCall call = planner.Next({});
    if (call.entry == 1) {
      ++seldom;
      EXPECT_EQ(call.request.text(), "x");
      EXPECT_TRUE(call.cancel_after_tokens == 0 || call.cancel_after_tokens == 2);
      cancelled += call.cancel_after_tokens > 0 ? 1 : 0;
      continue;
    }
    EXPECT_EQ(call.cancel_after_tokens, 0);
    EXPECT_GE(call.request.token_ids().ids_size(), 2);
    EXPECT_LE(call.request.token_ids().ids_size(), 5);
    for (const uint32_t id : call.request.token_ids().ids()) EXPECT_LT(id, 50u);
    EXPECT_GE(call.request.stopping().max_new_tokens(), 10u);
    EXPECT_LE(call.request.stopping().max_new_tokens(), 20u);
  }
  // Deviations: sqrt(n p (1 - p)) is 19 and 10.
  EXPECT_NEAR(seldom, kCalls / 10, 95);
  EXPECT_NEAR(cancelled, seldom / 2, 50);
}

TEST(CallPlanner, DrawsTheSameForTheSameSeed) {
  CallPlanner one(TwoEntries(), 50, 5), same(TwoEntries(), 50, 5);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(one.Next({}).request.SerializeAsString(), same.Next({}).request.SerializeAsString());
  }
}

TEST(CallPlanner, ATraceWins) {
  CallPlanner planner(TwoEntries(), 50, 5);
  for (int i = 0; i < 20; ++i) {
    const PlannedCall call = planner.Next({0, 33, 44});
    EXPECT_EQ(call.request.token_ids().ids_size(), 33);
    EXPECT_EQ(call.request.stopping().max_new_tokens(), 44u);
  }
}

}  // namespace
}  // namespace strata::loadtest
