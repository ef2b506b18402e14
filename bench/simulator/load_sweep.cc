#include "bench/simulator/load_sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "bench/simulator/simulation.h"
#include "engine/status_macros.h"
#include "figures/svg_chart.h"

namespace strata::sim {
namespace {

// So many requests for each client that those under way in the end weigh little.
constexpr int kRequestsPerClient = 32;
constexpr int kLeastRequests = 200;

std::vector<LoadSweep::Setting> MakeSettings(const Options& options) {
  std::vector<LoadSweep::Setting> settings = {{"off", {}, {}}};
  std::vector<int> exits = options.exit_layers;
  if (exits.empty()) {
    for (const ExitAcceptance& exit : DefaultAcceptance(options.simulation.model.num_layers)) {
      exits.push_back(exit.exit_layer);
    }
  }
  Speculation fixed;
  fixed.mode = Speculation::Mode::kFixed;
  for (const int exit_layer : exits) {
    for (const int drafts : options.draft_tokens) {
      fixed.exit_layer = exit_layer;
      fixed.num_draft_tokens = drafts;
      settings.push_back({fmt::format("e{}_k{}", exit_layer, drafts), fixed, {}});
    }
  }
  Speculation automatic;
  automatic.mode = Speculation::Mode::kAuto;
  settings.push_back({"auto", automatic, {}});
  return settings;
}

absl::StatusOr<LoadPoint> MeasurePoint(const SimulationOptions& options, const Trace& trace) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Simulation> simulation,
                   Simulation::Create(options, trace));
  RETURN_IF_ERROR(simulation->Run());
  const Summary summary = Summarize(simulation->recorder());
  return LoadPoint{simulation->recorder().SteadyTokensPerSecond(),
                   summary.ttft.Percentile(0.95),
                   summary.itl.Percentile(0.99),
                   summary.mean_drafts,
                   summary.mean_exit,
                   summary.acceptance};
}

}  // namespace

const LoadSweep::Setting& LoadSweep::Best(size_t load) const {
  return *std::max_element(settings.begin(), settings.end() - 1,
                           [load](const Setting& a, const Setting& b) {
                             return a.points[load].tokens_per_s < b.points[load].tokens_per_s;
                           });
}

absl::StatusOr<LoadSweep> RunLoadSweep(const Options& options) {
  LoadSweep sweep;
  sweep.loads = options.loads;
  sweep.settings = MakeSettings(options);
  for (const int load : sweep.loads) {
    TraceOptions trace_options = options.trace;
    trace_options.num_requests = std::max(kLeastRequests, kRequestsPerClient * load);
    ASSIGN_OR_RETURN(const Trace trace, MakeTrace(trace_options));
    SimulationOptions simulation = options.simulation;
    simulation.concurrency = load;
    for (LoadSweep::Setting& setting : sweep.settings) {
      simulation.speculation = setting.speculation;
      ASSIGN_OR_RETURN(const LoadPoint point, MeasurePoint(simulation, trace));
      setting.points.push_back(point);
    }
  }
  return sweep;
}

std::string LoadSweepToText(const LoadSweep& sweep) {
  std::string text =
      fmt::format("{:>6} {:>10} {:>10} {:>10} {:>10} {:>9} {:>9} {:>6} {:>6} {:>8}\n", "load",
                  "off", "best", "setting", "auto", "auto/off", "auto/best", "K", "E", "accepted");
  for (size_t i = 0; i < sweep.loads.size(); ++i) {
    const LoadSweep::Setting& best = sweep.Best(i);
    const LoadPoint& automatic = sweep.automatic(i);
    text += fmt::format(
        "{:>6} {:>10.1f} {:>10.1f} {:>10} {:>10.1f} {:>9.3f} {:>9.3f} {:>6.2f} {:>6.1f} "
        "{:>7.1f}%\n",
        sweep.loads[i], sweep.off(i).tokens_per_s, best.points[i].tokens_per_s, best.name,
        automatic.tokens_per_s, automatic.tokens_per_s / sweep.off(i).tokens_per_s,
        automatic.tokens_per_s / best.points[i].tokens_per_s, automatic.drafts,
        automatic.exit_layer, 100 * automatic.acceptance);
  }
  return text;
}

std::string LoadSweepToCsv(const LoadSweep& sweep) {
  std::string csv =
      "load,setting,tokens_per_s,ttft_p95_ms,itl_p99_ms,drafts,exit_layer,acceptance\n";
  for (size_t i = 0; i < sweep.loads.size(); ++i) {
    for (const LoadSweep::Setting& setting : sweep.settings) {
      const LoadPoint& point = setting.points[i];
      csv += fmt::format("{},{},{:.3f},{:.3f},{:.3f},{:.3f},{:.2f},{:.4f}\n", sweep.loads[i],
                         setting.name, point.tokens_per_s, 1e3 * point.ttft_p95_s,
                         1e3 * point.itl_p99_s, point.drafts, point.exit_layer, point.acceptance);
    }
  }
  return csv;
}

std::string LoadSweepToSvg(const LoadSweep& sweep, const std::string& title) {
  Chart chart;
  chart.title = title + ": goodput over requests at a time";
  chart.x_title = "requests";
  chart.log_x = true;
  for (const int load : sweep.loads) chart.x.push_back(load);
  const auto over_loads = [&](std::string name, const std::function<double(size_t)>& value) {
    Series series{std::move(name), {}};
    for (size_t i = 0; i < sweep.loads.size(); ++i) series.values.push_back(value(i));
    return series;
  };
  const auto best = [&](size_t i) -> const LoadPoint& { return sweep.Best(i).points[i]; };
  chart.panels.push_back(
      {"goodput over off's",
       {over_loads(
            "auto",
            [&](size_t i) { return sweep.automatic(i).tokens_per_s / sweep.off(i).tokens_per_s; }),
        over_loads("best fixed",
                   [&](size_t i) { return best(i).tokens_per_s / sweep.off(i).tokens_per_s; })}});
  chart.panels.push_back(
      {"tokens per second",
       {over_loads("auto", [&](size_t i) { return sweep.automatic(i).tokens_per_s; }),
        over_loads("best fixed", [&](size_t i) { return best(i).tokens_per_s; }),
        over_loads("off", [&](size_t i) { return sweep.off(i).tokens_per_s; })}});
  chart.panels.push_back(
      {"p99 time between deltas, ms",
       {over_loads("auto", [&](size_t i) { return 1e3 * sweep.automatic(i).itl_p99_s; }),
        over_loads("best fixed", [&](size_t i) { return 1e3 * best(i).itl_p99_s; }),
        over_loads("off", [&](size_t i) { return 1e3 * sweep.off(i).itl_p99_s; })}});
  chart.panels.push_back({"drafts a round and sequence (K)",
                          {over_loads("auto", [&](size_t i) { return sweep.automatic(i).drafts; }),
                           over_loads("best fixed", [&](size_t i) { return best(i).drafts; })}});
  chart.panels.push_back(
      {"exit layer of drafts (E)",
       {over_loads("auto", [&](size_t i) { return sweep.automatic(i).exit_layer; }),
        over_loads("best fixed", [&](size_t i) { return best(i).exit_layer; })}});
  return ToSvg(chart);
}

}  // namespace strata::sim
