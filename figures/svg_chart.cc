#include "figures/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string_view>

namespace strata {
namespace {

constexpr std::array<std::string_view, 8> kColours = {"#0b6e4f", "#d98e04", "#5b5ea6", "#b23a48",
                                                      "#3a86c8", "#7d7d7d", "#8c564b", "#e377c2"};
constexpr double kLeft = 70;
constexpr double kPlotWidth = 680;
constexpr double kRight = 190;  // legends
constexpr double kTop = 40;
constexpr double kPanelHeight = 120;
constexpr double kPanelGap = 44;

std::string Escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '&':
        result += "&amp;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string Text(double x, double y, std::string_view text, std::string_view attributes = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, attributes,
                     Escape(text));
}

std::string Line(double x1, double y1, double x2, double y2, std::string_view colour) {
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", x1, y1, x2,
      y2, colour);
}

// 1, 2 or 5 times a power of ten, at least `value`.
double RoundUp(double value) {
  if (!(value > 0)) return 1;
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (step * power >= value * (1 - 1e-9)) return step * power;
  }
  return 10 * power;
}

class XAxis {
 public:
  explicit XAxis(const Chart& chart)
      : log_(chart.log_x), first_(Scale(chart.x.front())), last_(Scale(chart.x.back())) {}

  double At(double x) const {
    return kLeft + (last_ > first_ ? (Scale(x) - first_) / (last_ - first_) : 0.5) * kPlotWidth;
  }

 private:
  double Scale(double x) const { return log_ ? std::log(x) : x; }

  const bool log_;
  const double first_, last_;
};

double Largest(const Panel& panel) {
  double largest = 0;
  for (const Series& series : panel.series) {
    for (const double value : series.values) {
      if (std::isfinite(value)) largest = std::max(largest, value);
    }
  }
  return largest;
}

// The parts between gaps, each a polyline.
std::string Polylines(const Chart& chart, const Series& series, const XAxis& axis, double bottom,
                      double scale, std::string_view colour) {
  std::string result, points;
  const auto flush = [&] {
    if (!points.empty()) {
      result += fmt::format(
          "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>\n", points,
          colour);
    }
    points.clear();
  };
  for (size_t i = 0; i < chart.x.size() && i < series.values.size(); ++i) {
    if (!std::isfinite(series.values[i])) {
      flush();
      continue;
    }
    points += fmt::format("{:.1f},{:.1f} ", axis.At(chart.x[i]), bottom - series.values[i] * scale);
  }
  flush();
  return result;
}

std::string DrawPanel(const Chart& chart, const Panel& panel, const XAxis& axis, double top) {
  const double bottom = top + kPanelHeight;
  const double limit = RoundUp(Largest(panel));
  std::string svg = Text(kLeft, top - 8, panel.title, "font-weight=\"bold\"");
  for (const double part : {0.0, 0.5, 1.0}) {
    const double y = bottom - part * kPanelHeight;
    svg += Line(kLeft, y, kLeft + kPlotWidth, y, "#dddddd");
    svg += Text(kLeft - 6, y + 4, fmt::format("{:g}", part * limit), "text-anchor=\"end\"");
  }
  for (size_t i = 0; i < panel.series.size(); ++i) {
    const std::string_view colour = kColours[i % kColours.size()];
    svg += Polylines(chart, panel.series[i], axis, bottom, kPanelHeight / limit, colour);
    const double y = top + 12 + 15 * static_cast<double>(i);
    svg += Line(kLeft + kPlotWidth + 10, y - 4, kLeft + kPlotWidth + 28, y - 4, colour);
    svg += Text(kLeft + kPlotWidth + 33, y, panel.series[i].name);
  }
  return svg;
}

std::string DrawXLabels(const Chart& chart, const XAxis& axis, double y) {
  std::string svg;
  const size_t step = std::max<size_t>(1, chart.x.size() / 10);
  for (size_t i = 0; i < chart.x.size(); i += step) {
    svg +=
        Text(axis.At(chart.x[i]), y, fmt::format("{:.4g}", chart.x[i]), "text-anchor=\"middle\"");
  }
  return svg + Text(kLeft + kPlotWidth + 26, y, chart.x_title);
}

}  // namespace

std::string ToSvg(const Chart& chart) {
  const double width = kLeft + kPlotWidth + kRight;
  const double height =
      kTop + (kPanelHeight + kPanelGap) * static_cast<double>(chart.panels.size()) + 20;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0f}\" height=\"{:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
      width, height);
  svg += Text(kLeft, 20, chart.title, "font-size=\"14\"");
  const XAxis axis(chart);
  double top = kTop + 20;
  for (const Panel& panel : chart.panels) {
    svg += DrawPanel(chart, panel, axis, top);
    svg += DrawXLabels(chart, axis, top + kPanelHeight + 14);
    top += kPanelHeight + kPanelGap;
  }
  return svg + "</svg>\n";
}

}  // namespace strata
