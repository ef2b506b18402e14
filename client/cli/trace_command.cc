// strata trace: what the server's last rounds did, for a viewer of traces.

#include <fmt/format.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include "client/cli/chrome_trace.h"
#include "client/cli/command.h"
#include "client/status_macros.h"

namespace strata::client {
namespace {

struct TraceFlags {
  std::string out;
  uint32_t max_rounds = 0;
};

absl::Status WriteOut(const std::string& text, const std::string& path) {
  std::ofstream file;
  errno = 0;
  if (path != "-") file.open(path, std::ios::binary | std::ios::trunc);
  std::ostream& out = path == "-" ? std::cout : file;
  if ((out << text << "\n").flush()) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("--out: cannot write {}: {}", path, std::strerror(errno != 0 ? errno : EIO)));
}

absl::Status WriteTrace(Client* client, const TraceFlags& flags, const CommonFlags& common) {
  v1::GetTraceRequest request;
  request.set_max_rounds(flags.max_rounds);
  ASSIGN_OR_RETURN(const v1::Trace trace, client->GetTrace(request, common.call_options()));
  const std::string text =
      common.json ? ToJson(trace) : ToChromeTrace(trace, "strata-server " + common.connect.server);
  RETURN_IF_ERROR(WriteOut(text, flags.out));
  if (flags.out == "-") return absl::OkStatus();
  std::cout << fmt::format("{} rounds in {}: open it in chrome://tracing or ui.perfetto.dev\n",
                           trace.rounds_size(), flags.out);
  return absl::OkStatus();
}

}  // namespace

void AddTraceCommand(CLI::App* app, const CommonFlags* common, Action* action) {
  auto flags = std::make_shared<TraceFlags>();
  CLI::App* command = app->add_subcommand(
      "trace",
      "Writes what the server's last rounds did, for chrome://tracing or Perfetto (with --json as "
      "the server says it)");
  command->add_option("--out", flags->out, "File to write; -: standard output")->required();
  command->add_option("--rounds", flags->max_rounds, "The last N rounds; 0: all that are kept")
      ->type_name("N")
      ->capture_default_str();
  command->callback(
      [=] { *action = [=](Client* client) { return WriteTrace(client, *flags, *common); }; });
}

}  // namespace strata::client
