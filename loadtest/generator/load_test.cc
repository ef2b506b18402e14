#include "loadtest/generator/load_test.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/client.h"
#include "client/status_macros.h"
#include "loadtest/generator/progress_line.h"

namespace strata::loadtest {
namespace {

using Channels = std::vector<std::shared_ptr<grpc::Channel>>;

Channels Connect(const Options& options) {
  Channels channels;
  for (int i = 0; i < options.num_connections; ++i) {
    channels.push_back(client::Connect(options.server, /*own_connection=*/true));
  }
  return channels;
}

std::vector<std::unique_ptr<v1::Inference::Stub>> MakeStubs(const Channels& channels) {
  std::vector<std::unique_ptr<v1::Inference::Stub>> stubs;
  for (const auto& channel : channels) stubs.push_back(v1::Inference::NewStub(channel));
  return stubs;
}

// One load of those asked for.
struct Load {
  std::string name;
  LoadSettings settings;
  std::unique_ptr<Arrivals> arrivals;  // null: a closed loop
};

absl::StatusOr<std::vector<Load>> MakeLoads(const Options& options) {
  std::vector<Load> loads;
  for (const double rate : options.rates) {
    loads.push_back({fmt::format("{:.4g} calls/s", rate), options.load,
                     std::make_unique<PoissonArrivals>(rate, options.seed)});
  }
  for (const int concurrency : options.concurrencies) {
    LoadSettings settings = options.load;
    settings.concurrency = concurrency;
    loads.push_back({fmt::format("{} at a time", concurrency), settings, nullptr});
  }
  if (!options.trace.empty()) {
    ASSIGN_OR_RETURN(std::vector<Arrival> trace, ReadTrace(options.trace));
    loads.push_back({"trace", options.load, std::make_unique<TraceArrivals>(std::move(trace))});
  }
  return loads;
}

RunResult RunLoad(const Options& options, const Load& load, const Channels& channels,
                  int vocab_size, const std::atomic<bool>& stop) {
  CallPlanner planner(options.mix, vocab_size, options.seed);
  Collector collector(load.settings.warmup_s);
  LoadRun run(load.settings, MakeStubs(channels), &planner, load.arrivals.get(), &collector);
  double end_s = 0;
  {
    std::optional<ProgressLine> progress;
    if (!options.quiet && isatty(STDERR_FILENO) == 1) {
      progress.emplace(stderr, load.name, &collector);
    }
    end_s = run.Run(stop);
  }
  RunResult result;
  result.load = load.name;
  result.observations = collector.Take();
  result.summary = Summarize(result.observations, load.settings.warmup_s, end_s, options.level);
  return result;
}

}  // namespace

absl::StatusOr<LoadReport> RunLoadTest(const Options& options, const std::atomic<bool>& stop) {
  ASSIGN_OR_RETURN(std::vector<Load> loads, MakeLoads(options));
  const Channels channels = Connect(options);
  client::CallOptions call;
  call.timeout = options.load.call.timeout;
  ASSIGN_OR_RETURN(const v1::ModelInfo model,
                   client::Client(channels.front(), options.server.token).GetModelInfo(call));
  LoadReport report;
  report.server = options.server.address;
  report.model = fmt::format("{}, {}", model.name(), model.backend());
  report.started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  report.level = options.level;
  report.warmup_s = options.load.warmup_s;
  report.mix = options.mix;
  for (const Load& load : loads) {
    if (stop) break;
    report.runs.push_back(
        RunLoad(options, load, channels, static_cast<int>(model.vocab_size()), stop));
  }
  return report;
}

}  // namespace strata::loadtest
