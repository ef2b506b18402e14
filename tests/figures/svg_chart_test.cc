#include "figures/svg_chart.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <limits>
#include <string>

namespace strata {
namespace {

int Count(const std::string& text, const std::string& what) {
  int count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

Chart TwoPanels() {
  Chart chart;
  chart.title = "Throughput";
  chart.x_title = "calls/s";
  chart.x = {1, 2, 4, 8};
  chart.panels = {{"tokens/s", {{"off", {10, 20, 30, 40}}, {"auto", {15, 30, 40, 45}}}},
                  {"ms", {{"off", {1, 1, 2, 9}}}}};
  return chart;
}

TEST(SvgChart, DrawsALineForEachSeries) {
  const std::string svg = ToSvg(TwoPanels());
  EXPECT_EQ(Count(svg, "<polyline"), 3);
  EXPECT_NE(svg.find(">auto</text>"), std::string::npos);
  EXPECT_TRUE(svg.starts_with("<svg"));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
}

TEST(SvgChart, LeavesAGapWhereAValueIsNotFinite) {
  Chart chart = TwoPanels();
  chart.panels[1].series[0].values[1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(Count(ToSvg(chart), "<polyline"), 4);
  EXPECT_EQ(ToSvg(chart).find("nan"), std::string::npos);
}

TEST(SvgChart, EscapesNames) {
  Chart chart = TwoPanels();
  chart.title = "a < b & c";
  chart.panels[0].series[0].name = "<script>";
  const std::string svg = ToSvg(chart);
  EXPECT_NE(svg.find("a &lt; b &amp; c"), std::string::npos);
  EXPECT_EQ(svg.find("<script>"), std::string::npos);
}

TEST(SvgChart, PlacesALogarithmicAxisEvenly) {
  Chart chart = TwoPanels();
  chart.log_x = true;
  chart.panels.resize(1);
  chart.panels[0].series.resize(1);
  const std::string svg = ToSvg(chart);
  const size_t at = svg.find("points=\"") + 8;
  double x[4], y[4];
  ASSERT_EQ(std::sscanf(svg.c_str() + at, "%lf,%lf %lf,%lf %lf,%lf %lf,%lf", &x[0], &y[0], &x[1],
                        &y[1], &x[2], &y[2], &x[3], &y[3]),
            8);
  EXPECT_NEAR(x[1] - x[0], x[2] - x[1], 0.2);
  EXPECT_NEAR(x[2] - x[1], x[3] - x[2], 0.2);
  EXPECT_GT(y[0], y[3]);  // larger is higher
}

TEST(SvgChart, OnePointIsAChartToo) {
  Chart chart = TwoPanels();
  chart.x = {3};
  const std::string svg = ToSvg(chart);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

}  // namespace
}  // namespace strata
