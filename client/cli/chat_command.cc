// strata chat: a conversation, line by line. These are base models without a
// chat template: the prompt is simply all that was said so far.

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>

#include "client/cli/command.h"
#include "client/cli/request_flags.h"
#include "client/cli/stream_printer.h"
#include "client/status_macros.h"

namespace strata::client {
namespace {

// Answers to `transcript` and appends the answer to it.
absl::Status Answer(Client* client, v1::GenerateRequest request, const CommonFlags& common,
                    std::string* transcript) {
  request.set_text(*transcript);
  StreamPrinter printer(&std::cout, UseColor(common.color_mode(), STDOUT_FILENO),
                        /*num_samples=*/1);
  RETURN_IF_ERROR(client->Generate(
      request, [&](const v1::GenerateResponse& r) { printer.OnResponse(r); },
      common.call_options()));
  printer.Finish();
  std::cout << std::endl;
  *transcript += printer.text(0) + "\n";
  return absl::OkStatus();
}

absl::Status Chat(Client* client, const v1::GenerateRequest& request, const CommonFlags& common) {
  const bool interactive = isatty(STDIN_FILENO) == 1;
  if (interactive) {
    fmt::print(stderr,
               "The prompt is all that was said so far. /reset begins anew, end of input "
               "(Ctrl-D) leaves.\n");
  }
  std::string transcript;
  std::string line;
  while (true) {
    if (interactive) fmt::print(stderr, "> ");
    if (!std::getline(std::cin, line)) return absl::OkStatus();
    if (line == "/reset") {
      transcript.clear();
      continue;
    }
    transcript += line + "\n";
    RETURN_IF_ERROR(Answer(client, request, common, &transcript));
  }
}

}  // namespace

void AddChatCommand(CLI::App* app, const CommonFlags* common, Action* action) {
  auto flags = std::make_shared<RequestFlags>();
  CLI::App* command =
      app->add_subcommand("chat",
                          "Take turns with the model, line by line; the prompt is all "
                          "that was said so far (base models have no chat template)");
  AddSamplingFlags(command, flags.get());
  AddSpeculationFlags(command, flags.get());
  command->callback([=] {
    *action = [=](Client* client) -> absl::Status {
      ASSIGN_OR_RETURN(const v1::GenerateRequest request, MakeRequest(*flags));
      return Chat(client, request, *common);
    };
  });
}

}  // namespace strata::client
