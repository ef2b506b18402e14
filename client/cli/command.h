// What the `strata` command's subcommands share.

#ifndef STRATA_CLIENT_CLI_COMMAND_H_
#define STRATA_CLIENT_CLI_COMMAND_H_

#include <google/protobuf/message.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/terminal.h"
#include "client/client.h"
#include "client/connect_flags.h"

namespace strata::client {

// Flags of every subcommand.
struct CommonFlags {
  ConnectFlags connect;
  double timeout_seconds = 0;  // 0: none
  std::string color = "auto";
  bool json = false;

  CallOptions call_options() const;
  ColorMode color_mode() const;
};

// Each adds its subcommand to `app`. When the command line names it, it leaves
// in `action` what to do. `common` and `action` must outlive the parsing.
using Action = std::function<absl::Status(Client*)>;
void AddGenerateCommand(CLI::App* app, const CommonFlags* common, Action* action);
void AddChatCommand(CLI::App* app, const CommonFlags* common, Action* action);
void AddCompareCommand(CLI::App* app, const CommonFlags* common, Action* action);
void AddScoreCommand(CLI::App* app, const CommonFlags* common, Action* action);
void AddTokenizeCommand(CLI::App* app, const CommonFlags* common, Action* action);
void AddInfoCommand(CLI::App* app, const CommonFlags* common, Action* action);
void AddLoadCommand(CLI::App* app, const CommonFlags* common, Action* action);
void AddTraceCommand(CLI::App* app, const CommonFlags* common, Action* action);

// `argument` itself, or all of standard input for "-".
absl::StatusOr<std::string> ReadText(const std::string& argument);

// One line of JSON, with the field names of the .proto files.
std::string ToJson(const google::protobuf::Message& message);

}  // namespace strata::client

#endif  // STRATA_CLIENT_CLI_COMMAND_H_
