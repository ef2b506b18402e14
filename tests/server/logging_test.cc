// How lines of the log look, whoever's text is in them.

#include "server/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <string>

#include "tests/server/captured_log.h"

namespace strata::server {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

const std::string kHostile = "x\" y=\"2\nfake line \x1b[31m \xff";

TEST(LogLines, AsJsonAreOneObjectWhateverIsInThem) {
  CapturedLog log(LogFormat::kJson);
  spdlog::warn("{}", kHostile);
  LogFields("request", {{"request_id", kHostile}, {"tokens", 3}, {"ttft_ms", 1.5}});
  spdlog::info("no fields stick");
  ASSERT_EQ(log.lines().size(), 3u);
  const auto warning = nlohmann::json::parse(log.lines()[0]);
  EXPECT_EQ(warning["level"], "warning");
  EXPECT_THAT(std::string(warning["time"]), testing::MatchesRegex("....-..-..T..:..:......Z"));
  // What is no UTF-8 cannot be kept.
  const std::string kept = kHostile.substr(0, kHostile.size() - 1) + "\xef\xbf\xbd";
  EXPECT_EQ(warning["message"], kept);
  const auto request = nlohmann::json::parse(log.lines()[1]);
  EXPECT_EQ(request["message"], "request");
  EXPECT_EQ(request["request_id"], kept);
  EXPECT_EQ(request["tokens"], 3);
  EXPECT_EQ(request["ttft_ms"], 1.5);
  EXPECT_EQ(nlohmann::json::parse(log.lines()[2]).size(), 3u);
  for (const std::string& line : log.lines()) EXPECT_EQ(line.find('\n'), std::string::npos);
}

TEST(LogLines, AsTextQuoteWhatIsNoWord) {
  CapturedLog log(LogFormat::kText);
  LogFields("request", {{"request_id", "req-1"}, {"tenant", ""}, {"tokens", 3}, {"peer", "a b"}});
  LogFields("request", {{"request_id", kHostile}});
  ASSERT_EQ(log.lines().size(), 2u);
  EXPECT_THAT(log.lines()[0],
              EndsWith("[info] request request_id=req-1 tenant=\"\" tokens=3 peer=\"a b\""));
  EXPECT_THAT(log.lines()[1], HasSubstr(R"(request_id="x\" y=\"2\nfake line \u001b[31m )"));
}

TEST(LogLines, TellTimeInUtc) {
  EXPECT_EQ(FormatTime(std::chrono::system_clock::time_point(std::chrono::milliseconds(1234))),
            "1970-01-01T00:00:01.234Z");
}

}  // namespace
}  // namespace strata::server
