// strata-server: options, model, server, and an orderly end.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "server/logging.h"
#include "server/metrics.h"
#include "server/model_loader.h"
#include "server/options.h"
#include "server/port_file.h"
#include "server/server.h"
#include "server/shutdown_signal.h"

namespace strata::server {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

int Fail(int exit_code, const absl::Status& status) {
  fmt::print(stderr, "strata-server: {}\n", std::string(status.message()));
  return exit_code;
}

void LogWarnings(Engine& engine) {
  for (const std::string& warning : engine.TakeWarnings()) spdlog::warn("{}", warning);
}

// Serves until a signal comes; then drains.
void ServeUntilSignal(const Options& options, ShutdownSignal* signal, StrataServer* server) {
  signal->Wait(1, absl::InfiniteDuration());
  spdlog::info(
      "stopping: waiting for running requests for {} ms at most; a second signal ends "
      "them",
      options.drain_timeout.count());
  const bool all_ended = server->Drain(std::chrono::steady_clock::now() + options.drain_timeout,
                                       [signal] { return signal->Wait(2, absl::ZeroDuration()); });
  spdlog::info("stopped{}", all_ended ? "" : "; some requests were cut short");
}

int Pack(const Options& options) {
  const absl::StatusOr<PackedSummary> packed = SavePacked(options);
  if (!packed.ok()) return Fail(kExitFailure, packed.status());
  fmt::print("strata-server: wrote {}: {:.1f} MB of weights, {}\n", options.save_packed,
             static_cast<double>(packed->size_bytes) / 1e6, packed->layout);
  return EXIT_SUCCESS;
}

int Run(const Options& options, ShutdownSignal* signal) {
  SetUpLogging(options.log_level);
  if (!options.save_packed.empty()) return Pack(options);
  ServerMetrics metrics;
  absl::StatusOr<std::unique_ptr<Engine>> engine = LoadEngine(options, &metrics);
  if (!engine.ok()) return Fail(kExitFailure, engine.status());
  auto server = StrataServer::Start(options, engine->get(), &metrics);
  if (!server.ok()) return Fail(kExitFailure, server.status());
  LogWarnings(**engine);
  signal->Arm();
  if (!options.port_file.empty()) {
    const absl::Status status =
        WritePortFile(options.port_file, (*server)->grpc_address(), (*server)->metrics_address());
    if (!status.ok()) return Fail(kExitFailure, status);
  }
  const std::string metrics_address = (*server)->metrics_address();
  fmt::print("strata-server ready: grpc {}, metrics {}, model {}, {}\n", (*server)->grpc_address(),
             metrics_address.empty() ? "none" : metrics_address,
             (*engine)->checkpoint().config().name, (*engine)->backend_description());
  std::fflush(stdout);
  ServeUntilSignal(options, signal, server->get());
  (*engine)->Stop(absl::UnavailableError("the server is shutting down"));
  LogWarnings(**engine);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace strata::server

int main(int argc, char** argv) {
  using namespace strata::server;  // NOLINT: main only wires
  ShutdownSignal signal;
  const std::vector<std::string> args(argv + 1, argv + argc);
  const auto command_line =
      ParseOptions(args, [](const std::string& name) { return std::getenv(name.c_str()); });
  if (!command_line.ok()) return Fail(kExitUsage, command_line.status());
  if (command_line->message) {
    fmt::print("{}", *command_line->message);
    return EXIT_SUCCESS;
  }
  return Run(command_line->options, &signal);
}
