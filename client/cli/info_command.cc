// strata info: what the server serves.

#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/status_macros.h"

namespace strata::client {
namespace {

std::string SpeculationText(const v1::RequestDefaults& defaults) {
  switch (defaults.speculation().mode_case()) {
    case v1::Speculation::kOff:
      return "off";
    case v1::Speculation::kFixed:
      return "fixed";
    case v1::Speculation::kAuto:
      return "auto";
    case v1::Speculation::MODE_NOT_SET:
      break;
  }
  return "unknown";
}

std::string ToText(const v1::ModelInfo& info) {
  const v1::RequestDefaults& defaults = info.defaults();
  std::string text;
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("{:<14}{}\n", name, value);
  };
  line("model", info.name());
  line("parameters", fmt::format("{:.1f} M", static_cast<double>(info.num_parameters()) / 1e6));
  line("layers", fmt::format("{} (exit layers {} to {})", info.num_layers(), info.min_exit_layer(),
                             info.max_exit_layer()));
  line("vocabulary", fmt::format("{}", info.vocab_size()));
  line("context", fmt::format("{} tokens", info.max_context()));
  line("backend", info.backend());
  line("licence", info.has_license() ? info.license().id() : "none found");
  if (info.has_license()) line("cite as", info.license().citation());
  line("sampling",
       fmt::format("temperature {}, top-p {}, top-k {}", defaults.sampling().temperature(),
                   defaults.sampling().top_p(), defaults.sampling().top_k()));
  line("max tokens", fmt::format("{}", defaults.stopping().max_new_tokens()));
  line("speculation",
       fmt::format("{} (exit layer {}, {} draft tokens)", SpeculationText(defaults),
                   defaults.fixed().exit_layer(), defaults.fixed().num_draft_tokens()));
  line("server", info.server_version());
  return text;
}

std::string LicenseText(const v1::ModelInfo& info) {
  if (!info.license().text().empty()) return info.license().text();
  if (!info.has_license()) return "The checkpoint carries no licence.";
  return fmt::format("The checkpoint carries no text of its licence, {}.", info.license().id());
}

absl::Status Info(Client* client, bool license, const CommonFlags& common) {
  ASSIGN_OR_RETURN(const v1::ModelInfo info, client->GetModelInfo(common.call_options()));
  if (common.json) {
    std::cout << ToJson(info) << "\n";
  } else if (license) {
    std::cout << LicenseText(info) << "\n";
  } else {
    std::cout << ToText(info);
  }
  return absl::OkStatus();
}

}  // namespace

void AddInfoCommand(CLI::App* app, const CommonFlags* common, Action* action) {
  auto license = std::make_shared<bool>(false);
  CLI::App* command = app->add_subcommand("info", "What the server serves, and its defaults");
  command->add_flag("--licence,--license", *license, "Print the licence's text instead");
  command->callback(
      [=] { *action = [=](Client* client) { return Info(client, *license, *common); }; });
}

}  // namespace strata::client
