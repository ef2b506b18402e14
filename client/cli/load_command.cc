// strata load: how busy the server is.

#include <fmt/format.h>

#include <iostream>

#include "client/cli/command.h"
#include "client/status_macros.h"

namespace strata::client {
namespace {

absl::Status Load(Client* client, const CommonFlags& common) {
  ASSIGN_OR_RETURN(const v1::Load load, client->GetLoad(common.call_options()));
  if (common.json) {
    std::cout << ToJson(load) << "\n";
    return absl::OkStatus();
  }
  std::cout << fmt::format(
      "requests      {} running, {} queued\n"
      "KV blocks     {} used of {}, {} of the free ones cached\n"
      "exit cache    {} rows\n"
      "tokens/s      {:.1f}\n"
      "acceptance    {:.1f}%\n",
      load.running_requests(), load.queued_requests(), load.kv_blocks_used(),
      load.kv_blocks_total(), load.kv_blocks_cached(), load.exit_cache_rows_used(),
      load.tokens_per_second(), 100 * load.acceptance_rate());
  return absl::OkStatus();
}

}  // namespace

void AddLoadCommand(CLI::App* app, const CommonFlags* common, Action* action) {
  CLI::App* command = app->add_subcommand("load", "How busy the server is");
  command->callback([=] { *action = [=](Client* client) { return Load(client, *common); }; });
}

}  // namespace strata::client
