// strata generate: one prompt, its answer as it comes.

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <utility>

#include "client/cli/command.h"
#include "client/cli/request_flags.h"
#include "client/cli/stats.h"
#include "client/cli/stream_printer.h"
#include "client/status_macros.h"

namespace strata::client {
namespace {

struct GenerateFlags {
  RequestFlags request;
  std::string prompt;
  bool stats = false;
};

absl::Status GenerateJson(Client* client, const v1::GenerateRequest& request,
                          const CallOptions& options) {
  return client->Generate(
      request, [](const v1::GenerateResponse& r) { std::cout << ToJson(r) << std::endl; }, options);
}

absl::Status GenerateText(Client* client, const v1::GenerateRequest& request,
                          const CommonFlags& common, bool stats) {
  const int num_samples =
      request.sampling().has_num_samples() ? static_cast<int>(request.sampling().num_samples()) : 1;
  StreamPrinter printer(&std::cout, UseColor(common.color_mode(), STDOUT_FILENO), num_samples);
  const absl::Status status = client->Generate(
      request, [&](const v1::GenerateResponse& r) { printer.OnResponse(r); },
      common.call_options());
  printer.Finish();
  if (isatty(STDOUT_FILENO) == 1) std::cout << std::endl;
  RETURN_IF_ERROR(status);
  for (int i = 0; stats && i < num_samples; ++i) {
    if (printer.finished(i)) fmt::print(stderr, "{}\n", StatsLine(*printer.finished(i)));
  }
  return absl::OkStatus();
}

}  // namespace

void AddGenerateCommand(CLI::App* app, const CommonFlags* common, Action* action) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = app->add_subcommand("generate", "Continue a prompt");
  command->add_option("prompt", flags->prompt, "The prompt; -: read it from standard input")
      ->required();
  AddSamplingFlags(command, &flags->request);
  AddSpeculationFlags(command, &flags->request);
  AddOutputFlags(command, &flags->request);
  command->add_flag("--stats", flags->stats, "Print speed and acceptance to standard error");
  command->callback([=] {
    *action = [=](Client* client) -> absl::Status {
      ASSIGN_OR_RETURN(v1::GenerateRequest request, MakeRequest(flags->request));
      ASSIGN_OR_RETURN(*request.mutable_text(), ReadText(flags->prompt));
      if (common->json) return GenerateJson(client, request, common->call_options());
      return GenerateText(client, request, *common, flags->stats);
    };
  });
}

}  // namespace strata::client
