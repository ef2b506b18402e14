#include "bench/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "nlohmann/json.hpp"

namespace strata::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Report SomeReport() {
  Report report;
  report.model = "demo";
  report.backend = "cpu";
  report.limits = {38.0, 851.0, 1861.0};
  report.rows.push_back({.name = "start_up", .value = 1.25, .unit = "s"});
  report.rows.push_back({.name = "decode_8",
                         .value = 120,
                         .unit = "tokens/s",
                         .limit = 150,
                         .bound = "read",
                         .beside = MachineRates{39.5, 800.0}});
  report.rows.push_back({.name = "speculative_e4_k2",
                         .value = 30,
                         .unit = "tokens/s",
                         .limit = 40,
                         .speculative = Speculative{0.5, 2.0, 0.25, 1.5, 1.33}});
  return report;
}

std::string LineOf(const std::string& table, const std::string& name) {
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name)) return line;
  }
  return "";
}

TEST(Report, JsonHasTheMachinesLimits) {
  const auto json = nlohmann::json::parse(ToJson(SomeReport()));
  EXPECT_EQ(json["model"], "demo");
  EXPECT_EQ(json["limits"]["read_gb_s"], 38.0);
  EXPECT_EQ(json["limits"]["bf16_gflop_s"], 851.0);
  EXPECT_EQ(json["limits"]["int8_gop_s"], 1861.0);
}

TEST(Report, JsonRowsSayWhatTheyHave) {
  const auto rows = nlohmann::json::parse(ToJson(SomeReport()))["results"];
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0], nlohmann::json({{"name", "start_up"}, {"value", 1.25}, {"unit", "s"}}));
  EXPECT_EQ(rows[1]["fraction"], 0.8);
  EXPECT_EQ(rows[1]["bound"], "read");
  EXPECT_EQ(rows[1]["read_gb_s"], 39.5);
  EXPECT_EQ(rows[1]["dot_gop_s"], 800.0);
  EXPECT_FALSE(rows[1].contains("speedup"));
  EXPECT_FALSE(rows[2].contains("bound"));
  EXPECT_EQ(rows[2]["acceptance_rate"], 0.5);
  EXPECT_EQ(rows[2]["tokens_per_round"], 2.0);
  EXPECT_EQ(rows[2]["draft_cost"], 0.25);
  EXPECT_EQ(rows[2]["speedup"], 1.5);
  EXPECT_EQ(rows[2]["predicted_speedup"], 1.33);
}

TEST(Report, TableSaysWhatBinds) {
  const std::string table = ToTable(SomeReport());
  EXPECT_THAT(table, HasSubstr("38.0 GB/s read, 851 GFLOP/s bf16, 1861 GOP/s int8"));
  EXPECT_THAT(LineOf(table, "decode_8"), HasSubstr("150.00      0.80   read   39.5"));
  EXPECT_THAT(LineOf(table, "start_up"), Not(HasSubstr("0.00")));
}

TEST(Report, TableColumnsEndBelowTheirTitles) {
  const std::string table = ToTable(SomeReport());
  const std::string titles = LineOf(table, "name");
  const auto end_of = [](const std::string& line, const std::string& text) {
    return line.find(text) + text.size();
  };
  const std::string decode = LineOf(table, "decode_8");
  EXPECT_EQ(end_of(decode, "150.00"), end_of(titles, "limit"));
  EXPECT_EQ(end_of(decode, "read"), end_of(titles, "bound"));
  EXPECT_EQ(end_of(decode, "39.5"), end_of(titles, "GB/s"));
  const std::string speculative = LineOf(table, "speculative");
  EXPECT_EQ(end_of(speculative, "0.500"), end_of(titles, "acceptance"));
  EXPECT_EQ(end_of(speculative, "1.33"), end_of(titles, "predicted"));
}

}  // namespace
}  // namespace strata::bench
