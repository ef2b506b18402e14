#include "bench/simulator/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strata::sim {
namespace {

using testing::HasSubstr;

TEST(Options, HaveDefaultsThatRun) {
  const auto options = ParseOptions({});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->command, Command::kRun);
  EXPECT_EQ(options->simulation.model.num_layers, 80);
  EXPECT_EQ(options->simulation.hardware.name, "8xA100");
  EXPECT_EQ(options->simulation.acceptance.exits.size(), 4u);
  EXPECT_TRUE(MakeTrace(options->trace).ok());
}

TEST(Options, AreRead) {
  const auto options = ParseOptions({"load",
                                     "--model",
                                     "llama3.2-1b",
                                     "--hardware",
                                     "cpu",
                                     "--dtype",
                                     "int8",
                                     "--speculation",
                                     "fixed",
                                     "--exit-layer",
                                     "3",
                                     "--num-draft-tokens",
                                     "5",
                                     "--acceptance",
                                     "2:0.3,4:0.5",
                                     "--prompt-tokens",
                                     "fixed:77",
                                     "--output-tokens",
                                     "pareto:50:1.5",
                                     "--tenants",
                                     "10,1",
                                     "--loads",
                                     "1,2",
                                     "--seed",
                                     "9"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->command, Command::kLoad);
  EXPECT_EQ(options->simulation.weights, kernels::WeightFormat::kInt8);
  EXPECT_EQ(options->simulation.speculation.exit_layer, 3);
  EXPECT_EQ(options->simulation.speculation.num_draft_tokens, 5);
  ASSERT_EQ(options->simulation.acceptance.exits.size(), 2u);
  EXPECT_EQ(options->simulation.acceptance.exits[1].mean, 0.5);
  EXPECT_EQ(options->trace.prompt.kind, Lengths::Kind::kFixed);
  EXPECT_EQ(options->trace.prompt.mean, 77);
  EXPECT_EQ(options->trace.output.shape, 1.5);
  EXPECT_EQ(options->trace.tenant_weights, std::vector<double>({10, 1}));
  EXPECT_EQ(options->loads, std::vector<int>({1, 2}));
  EXPECT_EQ(options->trace.seed, 9u);
  EXPECT_EQ(options->simulation.seed, 9u);
}

TEST(Options, SayWhatIsWrong) {
  const auto message = [](const std::vector<std::string>& args) {
    return std::string(ParseOptions(args).status().message());
  };
  EXPECT_THAT(message({"dance"}), HasSubstr("dance"));
  EXPECT_THAT(message({"--model", "gpt"}), HasSubstr("llama2-70b"));
  EXPECT_THAT(message({"--hardware", "tpu"}), HasSubstr("8xH100"));
  EXPECT_THAT(message({"--acceptance", "10=0.5"}), HasSubstr("10:0.6"));
  EXPECT_THAT(message({"--acceptance", "1.5:0.5"}), HasSubstr("LAYER:MEAN"));
  EXPECT_THAT(message({"--prompt-tokens", "normal:5"}), HasSubstr("lognormal"));
  EXPECT_THAT(message({"--prompt-tokens", "fixed:5:6"}), HasSubstr("lognormal"));
  EXPECT_THAT(message({"--output-tokens", "lognormal:x:1"}), HasSubstr("lognormal:x:1"));
  EXPECT_THAT(message({"--concurrency", "-1"}), HasSubstr("concurrency"));
}

TEST(Options, HelpNamesTheCommands) {
  const auto options = ParseOptions({"--help"});
  ASSERT_TRUE(options.ok());
  EXPECT_THAT(options->help, HasSubstr("model-card"));
}

TEST(DefaultAcceptance, SuitsEachDepth) {
  for (const int layers : {2, 3, 12, 16, 32, 80}) {
    const std::vector<ExitAcceptance> exits = DefaultAcceptance(layers);
    AcceptanceOptions options;
    options.exits = exits;
    EXPECT_TRUE(TokenProcess::Create(options, layers, 1).ok()) << layers;
  }
}

}  // namespace
}  // namespace strata::sim
