// strata: a Strata server from the command line.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>

#include "client/cli/command.h"
#include "client/client.h"

namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

void AddCommonFlags(CLI::App* app, strata::client::CommonFlags* common) {
  common->connect.AddTo(app);
  app->add_option("--timeout", common->timeout_seconds, "Deadline of a call in seconds; 0: none")
      ->check(CLI::NonNegativeNumber);
  app->add_option("--color", common->color, "auto: on a terminal, unless NO_COLOR is set")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  app->add_flag("--json", common->json, "One JSON object a line");
}

int Fail(const absl::Status& status, const std::string& server) {
  fmt::print(stderr, "strata: {}: {}\n", absl::StatusCodeToString(status.code()),
             std::string(status.message()));
  if (absl::IsUnavailable(status)) {
    fmt::print(stderr, "strata: is a strata-server running at {}?\n", server);
  }
  return kExitFailure;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace strata::client;  // NOLINT: main only wires
  CommonFlags common;
  Action action;
  CLI::App app("Talks to a strata-server.", "strata");
  AddCommonFlags(&app, &common);
  app.fallthrough();  // common flags may stand behind the subcommand
  app.require_subcommand(1);
  AddGenerateCommand(&app, &common, &action);
  AddChatCommand(&app, &common, &action);
  AddCompareCommand(&app, &common, &action);
  AddScoreCommand(&app, &common, &action);
  AddTokenizeCommand(&app, &common, &action);
  AddInfoCommand(&app, &common, &action);
  AddLoadCommand(&app, &common, &action);
  AddTraceCommand(&app, &common, &action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EXIT_SUCCESS : kExitUsage;
  }
  const absl::StatusOr<ConnectOptions> options = common.connect.options();
  if (!options.ok()) {
    fmt::print(stderr, "strata: {}\n", std::string(options.status().message()));
    return kExitUsage;
  }
  Client client(*options);
  const absl::Status status = action(&client);
  return status.ok() ? EXIT_SUCCESS : Fail(status, common.connect.server);
}
