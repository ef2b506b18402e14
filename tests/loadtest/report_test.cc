#include "loadtest/generator/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "nlohmann/json.hpp"

namespace strata::loadtest {
namespace {

LoadReport MakeReport(double scale) {
  LoadReport report;
  report.server = "127.0.0.1:1";
  report.model = "demo <small> & fast";
  report.started = "2026-01-01T00:00:00Z";
  report.mix = *ParseMix(R"([{"name": "a \"quoted\" name", "prompt_tokens": 3}])");
  for (const double rate : {1.0, 2.0}) {
    RunResult run;
    run.load = std::to_string(static_cast<int>(rate)) + " calls/s";
    Collector collector(0);
    for (int i = 0; i < 10; ++i) {
      CallRecord call;
      call.index = i;
      call.due_s = i / rate;
      call.first_token_s = call.due_s + 0.1 * scale;
      call.last_token_s = call.end_s = call.first_token_s + 0.2;
      call.tokens = 3;
      call.token_gaps_s = {0.1f, 0.1f};
      if (i == 9) {
        call = {};
        call.code = grpc::StatusCode::RESOURCE_EXHAUSTED;
        call.error = "full \xff";
      }
      collector.OnSent(call.due_s);
      collector.OnCallDone(call);
    }
    run.observations = collector.Take();
    run.summary = Summarize(run.observations, 0, 10 / rate, report.level);
    report.runs.push_back(std::move(run));
  }
  return report;
}

TEST(Report, JsonHasEveryFigure) {
  const auto json = nlohmann::json::parse(ToJson(MakeReport(1)));
  ASSERT_EQ(json["runs"].size(), 2u);
  const auto& run = json["runs"][0];
  EXPECT_EQ(run["succeeded"], 9);
  EXPECT_EQ(run["failures"]["RESOURCE_EXHAUSTED"]["calls"], 1);
  EXPECT_NEAR(run["ttft_ms"]["p50"].get<double>(), 100, 1);
  EXPECT_NEAR(run["itl_ms"]["p99"].get<double>(), 100, 1);
  EXPECT_NEAR(run["end_to_end_ms"]["max"].get<double>(), 300, 3);
}

TEST(Report, TableNamesFailures) {
  const std::string table = ToTable(MakeReport(1));
  EXPECT_NE(table.find("2 calls/s"), std::string::npos);
  EXPECT_NE(table.find("1 times RESOURCE_EXHAUSTED: full"), std::string::npos);
}

TEST(Report, CsvHasARowPerCallAndQuotesNames) {
  const std::string csv = ToCsv(MakeReport(1));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 21);
  EXPECT_NE(csv.find("\"a \"\"quoted\"\" name\""), std::string::npos);
}

TEST(Report, HtmlStandsAlone) {
  const std::string html = ToHtml(MakeReport(1));
  EXPECT_NE(html.find("<svg"), std::string::npos);
  EXPECT_NE(html.find("By load offered"), std::string::npos);
  EXPECT_NE(html.find("demo &lt;small&gt; &amp; fast"), std::string::npos);
  for (const char* foreign : {"<script", "<link", "src=", "@import", "nan"}) {
    EXPECT_EQ(html.find(foreign), std::string::npos) << foreign;
  }
}

TEST(Compare, ShowsRatios) {
  const auto table = CompareReports(ToJson(MakeReport(1)), ToJson(MakeReport(2)));
  ASSERT_TRUE(table.ok()) << table.status();
  const size_t at = table->find("ttft_ms/p50");
  ASSERT_NE(at, std::string::npos);
  const std::string line = table->substr(at, table->find('\n', at) - at);
  EXPECT_NEAR(std::stod(line.substr(line.rfind(' '))), 2, 0.05) << line;
}

TEST(Compare, RefusesOtherFiles) {
  const std::string good = ToJson(MakeReport(1));
  for (const char* bad : {"", "[]", "{}", R"({"runs": [1]})", R"({"runs": [{"load": "x"}]})"}) {
    EXPECT_FALSE(CompareReports(bad, good).ok()) << bad;
    EXPECT_FALSE(CompareReports(good, bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace strata::loadtest
