#include "bench/simulator/simulation_report.h"

#include <fmt/format.h>

#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "figures/svg_chart.h"

namespace strata::sim {
namespace {

std::string TimeOrNothing(double seconds) {
  return seconds < 0 ? "" : fmt::format("{:.6f}", seconds);
}

std::string MillisOrNothing(const LogHistogram& histogram, double fraction) {
  if (histogram.count() == 0) return "";
  return fmt::format("{:.3f}", 1e3 * histogram.Percentile(fraction));
}

double MillisOrGap(const LogHistogram& histogram, double fraction) {
  if (histogram.count() == 0) return std::numeric_limits<double>::quiet_NaN();
  return 1e3 * histogram.Percentile(fraction);
}

double PerSecond(int64_t count, const Interval& interval) {
  return static_cast<double>(count) / interval.seconds;
}

std::string PercentilesToText(const char* name, const LogHistogram& histogram) {
  return fmt::format("{:<22}{:.2f} / {:.2f} / {:.2f} ms\n", name, 1e3 * histogram.Percentile(0.5),
                     1e3 * histogram.Percentile(0.95), 1e3 * histogram.Percentile(0.99));
}

Series Over(const std::vector<Interval>& intervals, std::string name,
            const std::function<double(const Interval&)>& value) {
  Series series{std::move(name), {}};
  for (const Interval& interval : intervals) series.values.push_back(value(interval));
  return series;
}

Panel TenantPanel(const std::vector<Interval>& intervals) {
  constexpr size_t kMostTenants = 8;
  Panel panel{"tokens per second of each tenant", {}};
  const size_t tenants = intervals.front().tenant_tokens.size();
  for (size_t tenant = 0; tenant < tenants && tenant < kMostTenants; ++tenant) {
    panel.series.push_back(Over(intervals, fmt::format("tenant {}", tenant), [&](const auto& i) {
      return PerSecond(i.tenant_tokens[tenant], i);
    }));
  }
  return panel;
}

Panel LatencyPanel(const std::vector<Interval>& intervals, std::string title,
                   LogHistogram Interval::*histogram) {
  Panel panel{std::move(title), {}};
  for (const auto& [name, fraction] : {std::pair("p50", 0.5), {"p95", 0.95}, {"p99", 0.99}}) {
    panel.series.push_back(Over(intervals, name, [&](const Interval& interval) {
      return MillisOrGap(interval.*histogram, fraction);
    }));
  }
  return panel;
}

}  // namespace

std::string SummaryToText(const Summary& summary) {
  std::string text;
  text += fmt::format("{:<22}{} of {}\n", "requests finished", summary.finished, summary.requests);
  text += fmt::format("{:<22}{:.1f} s, {:.0f}% of it in {} rounds\n", "simulated time",
                      summary.seconds, 100 * summary.busy, summary.rounds);
  text += fmt::format("{:<22}{:.1f} tokens/s\n", "goodput", summary.tokens_per_s);
  text += fmt::format("{:<22}{} generated, {} prefilled, {} found in the prefix cache\n", "tokens",
                      summary.emitted_tokens, summary.prefilled_tokens, summary.cached_tokens);
  text += PercentilesToText("TTFT p50/p95/p99", summary.ttft);
  text += PercentilesToText("ITL p50/p95/p99", summary.itl);
  text += PercentilesToText("time per token", summary.token_time);
  text += fmt::format("{:<22}{:.2f} a round and sequence, exit {:.1f}, {:.1f}% accepted\n",
                      "drafts", summary.mean_drafts, summary.mean_exit, 100 * summary.acceptance);
  text += fmt::format("{:<22}{}\n", "preemptions", summary.preemptions);
  return text;
}

std::string RequestsToCsv(const Recorder& recorder) {
  std::string csv =
      "tenant,submitted_s,started_s,first_token_s,last_token_s,finished,prompt_tokens,"
      "cached_prompt_tokens,generated_tokens,drafted_tokens,accepted_tokens\n";
  for (const RequestRecord& request : recorder.requests()) {
    csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{}\n", request.trace.tenant,
                       TimeOrNothing(request.submitted_s), TimeOrNothing(request.started_s),
                       TimeOrNothing(request.first_token_s), TimeOrNothing(request.last_token_s),
                       request.finished ? 1 : 0, request.trace.prompt_tokens,
                       request.cached_prompt_tokens, request.generated_tokens,
                       request.drafted_tokens, request.accepted_tokens);
  }
  return csv;
}

std::string IntervalsToCsv(const Recorder& recorder) {
  std::string csv =
      "start_s,seconds,rounds,busy,tokens_per_s,prefilled_per_s,drafts,exit_layer,acceptance,"
      "preemptions,running,waiting,kv_blocks,ttft_p50_ms,ttft_p95_ms,ttft_p99_ms,itl_p50_ms,"
      "itl_p95_ms,itl_p99_ms";
  if (recorder.intervals().empty()) return csv + "\n";
  const size_t tenants = recorder.intervals().front().tenant_tokens.size();
  for (size_t i = 0; i < tenants; ++i) csv += fmt::format(",tenant_{}_tokens_per_s", i);
  csv += "\n";
  for (const Interval& interval : recorder.intervals()) {
    csv += fmt::format(
        "{:.6f},{:.6f},{},{:.4f},{:.2f},{:.2f},{:.3f},{:.2f},{:.4f},{},{},{},{},{},{},{},{},{},{}",
        interval.start_s, interval.seconds, interval.rounds, interval.busy_s / interval.seconds,
        PerSecond(interval.emitted_tokens, interval),
        PerSecond(interval.prefilled_tokens, interval), interval.MeanDrafts(), interval.MeanExit(),
        interval.Acceptance(), interval.preemptions, interval.most_running, interval.most_waiting,
        interval.most_kv_blocks, MillisOrNothing(interval.ttft, 0.5),
        MillisOrNothing(interval.ttft, 0.95), MillisOrNothing(interval.ttft, 0.99),
        MillisOrNothing(interval.itl, 0.5), MillisOrNothing(interval.itl, 0.95),
        MillisOrNothing(interval.itl, 0.99));
    for (const int64_t tokens : interval.tenant_tokens) {
      csv += fmt::format(",{:.2f}", PerSecond(tokens, interval));
    }
    csv += "\n";
  }
  return csv;
}

std::string TimelineToSvg(const Recorder& recorder, const std::string& title) {
  const std::vector<Interval>& intervals = recorder.intervals();
  Chart chart;
  chart.title = title;
  chart.x_title = "seconds";
  if (intervals.empty()) return ToSvg({title, "seconds", {0}, false, {}});
  for (const Interval& interval : intervals) {
    chart.x.push_back(interval.start_s + interval.seconds / 2);
  }
  using I = const Interval&;
  chart.panels.push_back(
      {"goodput, tokens per second",
       {Over(intervals, "generated", [](I i) { return PerSecond(i.emitted_tokens, i); }),
        Over(intervals, "drafted", [](I i) { return PerSecond(i.drafted_tokens, i); })}});
  chart.panels.push_back({"requests",
                          {Over(intervals, "running", [](I i) { return i.most_running; }),
                           Over(intervals, "waiting", [](I i) { return i.most_waiting; })}});
  chart.panels.push_back(LatencyPanel(intervals, "time to first token, ms", &Interval::ttft));
  chart.panels.push_back(LatencyPanel(intervals, "time between deltas, ms", &Interval::itl));
  chart.panels.push_back(
      {"drafts a round and sequence (K)",
       {Over(intervals, "drafted", [](I i) { return i.MeanDrafts(); }),
        Over(intervals, "accepted", [](I i) { return i.MeanDrafts() * i.Acceptance(); })}});
  chart.panels.push_back({"exit layer of drafts (E)", {Over(intervals, "mean", [](I i) {
                            return i.drafted_tokens > 0 ? i.MeanExit()
                                                        : std::numeric_limits<double>::quiet_NaN();
                          })}});
  chart.panels.push_back(TenantPanel(intervals));
  return ToSvg(chart);
}

}  // namespace strata::sim
