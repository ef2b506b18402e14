#include "bench/simulator/load_sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "figures/svg_chart.h"

namespace strata::sim {
namespace {

using testing::HasSubstr;

TEST(LoadSweep, MeasuresEachSettingAtEachLoad) {
  auto options = *ParseOptions({"load", "--model", "llama3-8b", "--hardware", "1xH200", "--loads",
                                "1,64", "--exit-layers", "4", "--draft-tokens", "2,8",
                                "--output-tokens", "fixed:20", "--prompt-tokens", "fixed:20"});
  const auto sweep = RunLoadSweep(options);
  ASSERT_TRUE(sweep.ok()) << sweep.status();
  ASSERT_EQ(sweep->settings.size(), 4u);
  EXPECT_EQ(sweep->settings[2].name, "e4_k8");
  for (const auto& setting : sweep->settings) {
    ASSERT_EQ(setting.points.size(), 2u) << setting.name;
    EXPECT_GT(setting.points[1].tokens_per_s, 3 * setting.points[0].tokens_per_s) << setting.name;
  }
  // Two drafts pay for one reader; eight that are seldom accepted do not for many.
  EXPECT_GT(sweep->settings[1].points[0].tokens_per_s, 1.1 * sweep->off(0).tokens_per_s);
  EXPECT_LT(sweep->settings[2].points[1].tokens_per_s, sweep->off(1).tokens_per_s);
  EXPECT_NE(sweep->Best(0).name, "off");
  EXPECT_THAT(LoadSweepToCsv(*sweep), HasSubstr("\n64,e4_k8,"));
  EXPECT_THAT(LoadSweepToSvg(*sweep, "a < b"), HasSubstr("a &lt; b"));
}

TEST(SvgChart, LeavesGapsOut) {
  Chart chart{"t", "x", {1, 2, 3, 4}, true, {{"p", {{"s", {1, std::nan(""), 3, 4}}}}}};
  const std::string svg = ToSvg(chart);
  size_t lines = 0;
  for (size_t at = svg.find("<polyline"); at != std::string::npos;
       at = svg.find("<polyline", at + 1)) {
    ++lines;
  }
  EXPECT_EQ(lines, 2u);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

}  // namespace
}  // namespace strata::sim
