// The pieces of the strata command: flags, figures, tables.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "client/cli/command.h"
#include "client/cli/comparison.h"
#include "client/cli/request_flags.h"
#include "client/cli/stats.h"

namespace strata::client {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<v1::GenerateRequest> Parse(std::vector<std::string> args) {
  CLI::App app;
  RequestFlags flags;
  AddSamplingFlags(&app, &flags);
  AddSpeculationFlags(&app, &flags);
  AddOutputFlags(&app, &flags);
  std::reverse(args.begin(), args.end());
  app.parse(args);
  return MakeRequest(flags);
}

TEST(RequestFlags, AbsentFlagsAreLeftToTheServer) {
  const auto request = Parse({});
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->sampling().ByteSizeLong(), 0u);
  EXPECT_EQ(request->stopping().ByteSizeLong(), 0u);
  EXPECT_EQ(request->speculation().mode_case(), v1::Speculation::MODE_NOT_SET);
}

TEST(RequestFlags, EveryFlagFindsItsField) {
  const auto request = Parse({"--temperature",
                              "0",
                              "--top-p",
                              "0.5",
                              "--top-k",
                              "5",
                              "--min-p",
                              "0.1",
                              "--seed",
                              "7",
                              "-n",
                              "9",
                              "--stop",
                              "a",
                              "--stop",
                              "b",
                              "--logprobs",
                              "2",
                              "--num-samples",
                              "3",
                              "--ignore-eos",
                              "--echo",
                              "--show-drafts",
                              "--time-limit-ms",
                              "100",
                              "--include-stop-text",
                              "--repetition-penalty",
                              "1.5",
                              "--presence-penalty",
                              "1",
                              "--frequency-penalty",
                              "-1"});
  ASSERT_TRUE(request.ok());
  EXPECT_TRUE(request->sampling().has_temperature());
  EXPECT_EQ(request->sampling().temperature(), 0);
  EXPECT_EQ(request->sampling().top_p(), 0.5f);
  EXPECT_EQ(request->sampling().top_k(), 5u);
  EXPECT_EQ(request->sampling().min_p(), 0.1f);
  EXPECT_EQ(request->sampling().seed(), 7u);
  EXPECT_EQ(request->sampling().num_samples(), 3u);
  EXPECT_EQ(request->sampling().repetition_penalty(), 1.5f);
  EXPECT_EQ(request->sampling().presence_penalty(), 1);
  EXPECT_EQ(request->sampling().frequency_penalty(), -1);
  EXPECT_EQ(request->stopping().max_new_tokens(), 9u);
  EXPECT_THAT(request->stopping().stop_sequences(), ::testing::ElementsAre("a", "b"));
  EXPECT_TRUE(request->stopping().ignore_eos());
  EXPECT_TRUE(request->stopping().include_stop_text());
  EXPECT_EQ(request->stopping().time_limit_ms(), 100u);
  EXPECT_EQ(request->output().logprobs(), 2u);
  EXPECT_TRUE(request->output().echo());
  EXPECT_TRUE(request->output().stream_drafts());
}

TEST(RequestFlags, SpeculationFollowsItsFlags) {
  EXPECT_TRUE(Parse({"--speculation", "off"})->speculation().has_off());
  EXPECT_TRUE(Parse({"--speculation", "auto"})->speculation().has_auto_());
  const auto fixed = Parse({"--exit-layer", "4", "--num-draft-tokens", "6"});
  EXPECT_EQ(fixed->speculation().fixed().exit_layer(), 4u);
  EXPECT_EQ(fixed->speculation().fixed().num_draft_tokens(), 6u);
  EXPECT_FALSE(Parse({"--speculation", "off", "--exit-layer", "4"}).ok());
}

v1::Finished FinishedOf(int tokens, double decode_ms, int rounds, int drafted, int accepted) {
  v1::Finished finished;
  finished.set_reason(v1::FINISH_REASON_MAX_TOKENS);
  finished.mutable_usage()->set_generated_tokens(tokens);
  finished.mutable_timing()->set_decode_ms(decode_ms);
  finished.mutable_speculation()->set_rounds(rounds);
  finished.mutable_speculation()->set_drafted_tokens(drafted);
  finished.mutable_speculation()->set_accepted_tokens(accepted);
  if (drafted > 0) {
    finished.mutable_speculation()->set_acceptance_rate(static_cast<double>(accepted) / drafted);
  }
  return finished;
}

TEST(Stats, SpeedLeavesTheFirstTokenOut) {
  EXPECT_EQ(TokensPerSecond(FinishedOf(101, 1000, 1, 0, 0)), 100);
  EXPECT_EQ(TokensPerSecond(FinishedOf(1, 0, 1, 0, 0)), 0);
}

TEST(Stats, SaysItInOneLine) {
  EXPECT_EQ(StatsLine(FinishedOf(101, 1000, 40, 120, 60)),
            "101 tokens, 100.0 tokens/s, 40 rounds, 50% of 120 drafts accepted (max_tokens)");
  EXPECT_EQ(StatsLine(FinishedOf(101, 1000, 101, 0, 0)),
            "101 tokens, 100.0 tokens/s, 101 rounds, nothing drafted (max_tokens)");
}

TEST(Comparison, EndsInATable) {
  Comparison comparison{{"text", FinishedOf(101, 1000, 101, 0, 0)},
                        {"text", FinishedOf(101, 500, 40, 120, 60)}};
  EXPECT_EQ(comparison.speed_up(), 2);
  const std::string table = comparison.ToTable();
  for (const char* part : {"tokens/s", "100.0", "200.0", "50.0% (60 of 120)", "2.00", "rounds",
                           "outputs identical: yes"}) {
    EXPECT_THAT(table, HasSubstr(part));
  }
  const auto json = nlohmann::json::parse(comparison.ToJson());
  EXPECT_EQ(json["speed_up"], 2);
  EXPECT_EQ(json["self_speculative"]["rounds"], 40);
  EXPECT_EQ(json["outputs_identical"], true);
  comparison.speculative.text = "other";
  EXPECT_THAT(comparison.ToTable(), HasSubstr("outputs identical: no"));
}

TEST(Json, KeepsTheNamesOfTheProtos) {
  v1::Load load;
  load.set_running_requests(3);
  const auto json = nlohmann::json::parse(ToJson(load));
  EXPECT_EQ(json["running_requests"], 3);
  EXPECT_EQ(json["queued_requests"], 0);
}

TEST(Terminal, ColoursOnlyWhenToldOrOnATerminal) {
  EXPECT_TRUE(UseColor(ColorMode::kAlways, -1));
  EXPECT_FALSE(UseColor(ColorMode::kNever, -1));
  EXPECT_FALSE(UseColor(ColorMode::kAuto, -1));  // no terminal
  EXPECT_EQ(Styled("x", Style::kAccepted, false), "x");
  EXPECT_EQ(Styled("x", Style::kPlain, true), "x");
  EXPECT_EQ(Styled("", Style::kAccepted, true), "");
  EXPECT_EQ(Styled("x", Style::kAccepted, true), "\033[32mx\033[0m");
}

}  // namespace
}  // namespace strata::client
