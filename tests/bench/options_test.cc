#include "bench/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace strata::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// --model is given unless `args` are all there should be.
absl::StatusOr<CommandLine> Parse(std::vector<std::string> args) {
  args.insert(args.begin(), {"--model", "folder"});
  return ParseCommandLine(args);
}

Options Get(const std::vector<std::string>& args) {
  const auto result = Parse(args);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? result->options : Options{};
}

std::string Error(const std::vector<std::string>& args) {
  const auto result = Parse(args);
  EXPECT_FALSE(result.ok());
  return std::string(result.status().message());
}

TEST(BenchOptions, DefaultIsEveryGroup) {
  const Options options = Get({});
  EXPECT_EQ(options.model, "folder");
  EXPECT_EQ(options.groups, Options{}.groups);
  EXPECT_EQ(options.groups.size(), 6u);
  EXPECT_THAT(options.batch_sizes, ElementsAre(1, 4, 8, 16, 32));
  EXPECT_THAT(options.prefill_tokens, ElementsAre(512, 4096));
  EXPECT_THAT(options.contexts, ElementsAre(128, 2048, 8192));
}

TEST(BenchOptions, OnlyTakesNamesBetweenCommas) {
  EXPECT_THAT(Get({"--only", "decode"}).groups, ElementsAre(Group::kDecode));
  EXPECT_THAT(Get({"--only", "speculative,prefill"}).groups,
              ElementsAre(Group::kPrefill, Group::kSpeculative));
  EXPECT_THAT(Get({"--only", "start-up", "memory", "context"}).groups,
              ElementsAre(Group::kStartUp, Group::kContext, Group::kMemory));
}

TEST(BenchOptions, ListsTakeCommasAndSpaces) {
  EXPECT_THAT(Get({"--batch-sizes", "2,3"}).batch_sizes, ElementsAre(2, 3));
  EXPECT_THAT(Get({"--exit-layers", "2", "4"}).exit_layers, ElementsAre(2, 4));
  EXPECT_THAT(Get({"--contexts", "64"}).contexts, ElementsAre(64));
}

TEST(BenchOptions, Device) {
  EXPECT_FALSE(Get({}).on_gpu);
  EXPECT_TRUE(Get({"--device", "cuda"}).on_gpu);
  EXPECT_TRUE(Get({"--device", "cuda"}).deterministic);
  EXPECT_FALSE(Get({"--device", "cuda", "--deterministic", "off"}).deterministic);
  EXPECT_THAT(Error({"--device", "tpu"}), HasSubstr("--device"));
}

TEST(BenchOptions, TensorParallel) {
  EXPECT_EQ(Get({}).tensor_parallel, 1);
  EXPECT_EQ(Get({"--tensor-parallel", "4"}).tensor_parallel, 4);
  EXPECT_THAT(Error({"--tensor-parallel", "0"}), HasSubstr("--tensor-parallel"));
}

TEST(BenchOptions, Dtype) {
  for (const kernels::WeightFormat weights : kernels::kAllWeightFormats) {
    EXPECT_EQ(Get({"--dtype", kernels::NameOf(weights)}).weights, weights);
  }
  EXPECT_EQ(Get({}).weights, kernels::WeightFormat::kBF16);
}

TEST(BenchOptions, WrongOnesAreNamed) {
  EXPECT_THAT(Error({"--only", "decode,latency"}), HasSubstr("latency"));
  EXPECT_THAT(Error({"--batch-sizes", "0"}), HasSubstr("--batch-sizes"));
  EXPECT_THAT(Error({"--repeat", "none"}), HasSubstr("--repeat"));
  EXPECT_THAT(Error({"--quick"}), HasSubstr("--quick"));
  EXPECT_THAT(std::string(ParseCommandLine({}).status().message()), HasSubstr("--model"));
}

TEST(BenchOptions, HelpNamesEveryGroup) {
  const auto result = ParseCommandLine({"--help"});
  ASSERT_TRUE(result.ok());
  for (const char* group : {"start-up", "prefill", "decode", "context", "speculative", "memory"}) {
    EXPECT_THAT(result->help, HasSubstr(std::string("\n  ") + group + " "));
  }
}

}  // namespace
}  // namespace strata::bench
