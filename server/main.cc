// strata-server: options, model, server, and an orderly end.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "server/access_control.h"
#include "server/dry_run.h"
#include "server/logging.h"
#include "server/metrics.h"
#include "server/model_loader.h"
#include "server/options.h"
#include "server/port_file.h"
#include "server/server.h"
#include "server/service_manager.h"
#include "server/shutdown_signal.h"

namespace strata::server {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitStuck = 3;
constexpr std::chrono::milliseconds kFailureInterval{200};

// Options as they would be at a start now.
using ParseAgain = std::function<absl::StatusOr<CommandLine>()>;

const char* GetEnvironment(const std::string& name) { return std::getenv(name.c_str()); }

// The streams' failures are no reason to end otherwise than planned (fmt::print would throw them).
int Fail(int exit_code, const absl::Status& status) {
  std::fputs(fmt::format("strata-server: {}\n", std::string(status.message())).c_str(), stderr);
  return exit_code;
}

int Print(const std::string& text) {
  const bool printed = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  return printed ? EXIT_SUCCESS : kExitFailure;
}

void LogWarnings(Engine& engine) {
  for (const std::string& warning : engine.TakeWarnings()) spdlog::warn("{}", warning);
}

// Serves until a signal comes, then drains; or until the engine fails.
void ServeUntilSignal(const Options& options, const ServiceManager& manager, const Engine& engine,
                      ShutdownSignal* signal, StrataServer* server) {
  while (!signal->Wait(1, kFailureInterval)) {
    if (!engine.failure().ok()) return;
  }
  manager.Notify("STOPPING=1");
  spdlog::info(
      "stopping: waiting for running requests for {} ms at most; a second signal ends "
      "them",
      options.drain_timeout.count());
  const bool all_ended =
      server->Drain(std::chrono::steady_clock::now() + options.drain_timeout,
                    [signal] { return signal->Wait(2, std::chrono::milliseconds(0)); });
  spdlog::info("stopped{}", all_ended ? "" : "; some requests were cut short");
}

int Pack(const Options& options) {
  const absl::StatusOr<PackedSummary> packed = SavePacked(options);
  if (!packed.ok()) return Fail(kExitFailure, packed.status());
  return Print(fmt::format("strata-server: wrote {}: {:.1f} MB of weights, {}\n",
                           options.save_packed, static_cast<double>(packed->size_bytes) / 1e6,
                           packed->layout));
}

// What SIGHUP does: reads again what may change while serving.
void Reload(const ParseAgain& parse_again, const ServiceManager& manager, AccessControl* access) {
  manager.Notify("RELOADING=1");
  const absl::StatusOr<CommandLine> command_line = parse_again();
  if (command_line.ok()) {
    SetLogLevel(command_line->options.log_level);
  } else {
    spdlog::error("options: {}: the log level stays as it is",
                  std::string(command_line.status().message()));
  }
  access->Reload();
  manager.Notify("READY=1");
}

StrataServer::Hooks MakeHooks(const ServiceManager& manager) {
  StrataServer::Hooks hooks;
  if (manager.wants_pings()) hooks.on_alive = [&manager] { manager.Notify("WATCHDOG=1"); };
  // Nothing can be ended in order: the step thread does not come back.
  hooks.on_stuck = [] { std::_Exit(kExitStuck); };
  return hooks;
}

int PrintPlan(const Options& options) {
  const absl::StatusOr<std::string> plan = DryRun(options);
  if (!plan.ok()) return Fail(kExitFailure, plan.status());
  return Print(*plan);
}

int Run(const Options& options, const ParseAgain& parse_again, ShutdownSignal* signal) {
  ServerMetrics metrics;
  const Logging logging(options.log_level, options.log_format, &metrics);
  if (!options.dry_run.empty()) return PrintPlan(options);
  if (!options.save_packed.empty()) return Pack(options);
  const ServiceManager manager(GetEnvironment);
  // Before the model, whose loading may take minutes.
  auto access = AccessControl::Open(options, &metrics);
  if (!access.ok()) return Fail(kExitFailure, access.status());
  absl::StatusOr<std::unique_ptr<Engine>> engine = LoadEngine(options, &metrics);
  if (!engine.ok()) return Fail(kExitFailure, engine.status());
  auto server =
      StrataServer::Start(options, access->get(), engine->get(), &metrics, MakeHooks(manager));
  if (!server.ok()) return Fail(kExitFailure, server.status());
  LogWarnings(**engine);
  signal->Arm([&] { Reload(parse_again, manager, access->get()); });
  const absl::Cleanup disarm = [signal] { signal->Disarm(); };
  if (!options.port_file.empty()) {
    const absl::Status status =
        WritePortFile(options.port_file, (*server)->grpc_address(), (*server)->metrics_address());
    if (!status.ok()) return Fail(kExitFailure, status);
  }
  const std::string metrics_address = (*server)->metrics_address();
  Print(fmt::format("strata-server ready: grpc {}, metrics {}, model {}, {}\n",
                    (*server)->grpc_address(), metrics_address.empty() ? "none" : metrics_address,
                    (*engine)->checkpoint().config().name, (*engine)->backend_description()));
  manager.Notify("READY=1");
  ServeUntilSignal(options, manager, **engine, signal, server->get());
  const absl::Status failure = (*engine)->failure();
  if (!failure.ok()) return Fail(kExitFailure, failure);
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
  const auto parse = [&args] { return ParseOptions(args, GetEnvironment); };
  const auto command_line = parse();
  if (!command_line.ok()) return Fail(kExitUsage, command_line.status());
  if (command_line->message) return Print(*command_line->message);
  try {
    return Run(command_line->options, parse, &signal);
  } catch (const std::bad_alloc&) {
    return Fail(kExitFailure, absl::ResourceExhaustedError("out of memory"));
  } catch (const std::system_error& error) {
    return Fail(kExitFailure, absl::ResourceExhaustedError(
                                  fmt::format("no room for another thread: {}", error.what())));
  }
}
