#include "loadtest/generator/options.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/loadtest/temporary_file.h"

namespace strata::loadtest {
namespace {

TEST(Options, ReadsARun) {
  const auto line = ParseCommandLine({"run", "--server", "h:1", "--rate", "1,2.5", "--duration",
                                      "9", "--slo-ttft-ms", "250", "--max-new-tokens", "7"});
  ASSERT_TRUE(line.ok()) << line.status();
  const Options& options = line->options;
  EXPECT_EQ(options.server.address, "h:1");
  EXPECT_EQ(options.rates, (std::vector<double>{1, 2.5}));
  EXPECT_EQ(options.load.duration_s, 9);
  EXPECT_DOUBLE_EQ(options.level.ttft_s, 0.25);
  ASSERT_EQ(options.mix.size(), 1u);
  EXPECT_EQ(options.mix[0].max_new_tokens->most, 7);
  EXPECT_FALSE(options.mix[0].request.text().empty());
}

TEST(Options, ReadsATokenWithoutItsLineEnd) {
  const TemporaryFile token("secret\n");
  const auto line = ParseCommandLine({"run", "--concurrency", "2", "--token-file", token.path()});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->options.load.call.token, "secret");
}

TEST(Options, ReadsAComparison) {
  const auto line = ParseCommandLine({"compare", "a.json", "b.json"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->compare_first, "a.json");
  EXPECT_EQ(line->compare_second, "b.json");
}

TEST(Options, OffersHelp) {
  EXPECT_NE(ParseCommandLine({"--help"})->help.find("compare"), std::string::npos);
  EXPECT_NE(ParseCommandLine({"run", "--help"})->help.find("--slo-ttft-ms"), std::string::npos);
}

TEST(Options, SaysWhatIsWrong) {
  const TemporaryFile bad_mix("[{}]");
  for (const auto& [args, words] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{}, "subcommand"},
           {{"run"}, "how much load"},
           {{"run", "--rate", "0"}, "--rate"},
           {{"run", "--rate", "1", "--concurrency", "1"}, "excludes"},
           {{"run", "--rate", "1", "--duration", "-1"}, "--duration"},
           {{"run", "--rate", "1", "--cancel", "2"}, "--cancel"},
           {{"run", "--rate", "1", "--mix", "/does/not/exist"}, "cannot be read"},
           {{"run", "--rate", "1", "--mix", bad_mix.path()}, "has no prompt"},
           {{"run", "--rate", "1", "--token-file", "/does/not/exist"}, "cannot be read"},
           {{"compare", "a"}, "second"}}) {
    const auto line = ParseCommandLine(args);
    ASSERT_FALSE(line.ok());
    EXPECT_NE(std::string(line.status().message()).find(words), std::string::npos) << line.status();
  }
}

}  // namespace
}  // namespace strata::loadtest
