#include <fmt/format.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "figures/svg_chart.h"
#include "loadtest/generator/report.h"

namespace strata::loadtest {
namespace {

constexpr double kMsPerS = 1000;

std::string Escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

// The run second by second.
std::string TimelineSvg(const RunResult& run) {
  Chart chart;
  chart.title = "Over time: " + run.load;
  chart.x_title = "seconds";
  Series sent{"sent", {}}, done{"ended", {}}, failed{"failed", {}}, tokens{"tokens", {}},
      in_flight{"in flight", {}};
  for (size_t i = 0; i < run.observations.seconds.size(); ++i) {
    const Second& second = run.observations.seconds[i];
    chart.x.push_back(static_cast<double>(i));
    sent.values.push_back(static_cast<double>(second.sent));
    done.values.push_back(static_cast<double>(second.done));
    failed.values.push_back(static_cast<double>(second.failed));
    tokens.values.push_back(static_cast<double>(second.tokens));
    in_flight.values.push_back(static_cast<double>(second.most_in_flight));
  }
  if (chart.x.empty()) return "";
  chart.panels = {{"tokens per second", {tokens}},
                  {"calls per second", {sent, done, failed}},
                  {"calls in flight", {in_flight}}};
  return ToSvg(chart);
}

// Latencies by percentile, the tail spread out: x = 1 / (1 - percentile).
std::string PercentilesSvg(const LoadReport& report) {
  constexpr std::array<double, 10> kSteps = {1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8};  // even
  constexpr double kTail = 1000;  // as far as p99.9
  Chart chart;
  chart.title = "Latency by percentile (10: p90, 100: p99, 1000: p99.9)";
  chart.x_title = "1 / (1 - p)";
  chart.log_x = true;
  for (double power = 1; power < kTail; power *= 10) {
    for (const double step : kSteps) chart.x.push_back(power * step);
  }
  chart.x.push_back(kTail);
  Panel ttft{"time to first token, ms", {}}, itl{"between deltas, ms", {}};
  for (const RunResult& run : report.runs) {
    Series first{run.load, {}}, gaps{run.load, {}};
    for (const double x : chart.x) {
      first.values.push_back(run.summary.ttft_s.Percentile(1 - 1 / x) * kMsPerS);
      gaps.values.push_back(run.summary.itl_s.Percentile(1 - 1 / x) * kMsPerS);
    }
    ttft.series.push_back(std::move(first));
    itl.series.push_back(std::move(gaps));
  }
  chart.panels = {std::move(ttft), std::move(itl)};
  return ToSvg(chart);
}

// What the server made of each load.
std::string CapacitySvg(const LoadReport& report) {
  Chart chart;
  chart.title = "By load offered";
  chart.x_title = "calls/s offered";
  Series served{"succeeded", {}}, good{"within the service level", {}}, tokens{"tokens", {}},
      ttft{"TTFT p99", {}}, itl{"ITL p99", {}};
  double last = 0;
  for (const RunResult& run : report.runs) {
    const Summary& summary = run.summary;
    if (!(summary.offered_calls_per_s > last)) return "";  // no axis
    last = summary.offered_calls_per_s;
    chart.x.push_back(summary.offered_calls_per_s);
    served.values.push_back(summary.calls_per_s);
    good.values.push_back(summary.good_calls_per_s);
    tokens.values.push_back(summary.tokens_per_s);
    ttft.values.push_back(summary.ttft_s.Percentile(0.99) * kMsPerS);
    itl.values.push_back(summary.itl_s.Percentile(0.99) * kMsPerS);
  }
  if (chart.x.size() < 2) return "";
  chart.panels = {{"calls per second", {served, good}},
                  {"tokens per second", {tokens}},
                  {"time to first token, ms", {ttft}},
                  {"between deltas, ms", {itl}}};
  return ToSvg(chart);
}

}  // namespace

std::string ToHtml(const LoadReport& report) {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<title>Load test of {0}</title>\n<style>\nbody {{ font-family: sans-serif; margin: 2em; }}\n"
      "pre {{ overflow-x: auto; }}\nsvg {{ display: block; margin: 1em 0; }}\n</style>\n</head>\n"
      "<body>\n<h1>Load test of {0}</h1>\n<p>{1}. A call is good if its first token comes within "
      "{2}, and the others within {3} on average. Warm-up: {4} s.</p>\n<pre>{5}</pre>\n",
      Escape(report.server), Escape(report.started),
      report.level.ttft_s > 0 ? fmt::format("{} ms", report.level.ttft_s * kMsPerS) : "any time",
      report.level.token_time_s > 0 ? fmt::format("{} ms", report.level.token_time_s * kMsPerS)
                                    : "any time",
      report.warmup_s, Escape(ToTable(report)));
  html += CapacitySvg(report) + PercentilesSvg(report);
  for (const RunResult& run : report.runs) html += TimelineSvg(run);
  return html + "</body>\n</html>\n";
}

}  // namespace strata::loadtest
