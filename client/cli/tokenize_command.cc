// strata tokenize: text to token ids, or back.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

#include "client/cli/command.h"
#include "client/status_macros.h"

namespace strata::client {
namespace {

struct TokenizeFlags {
  std::string text;
  bool pieces = false;
  bool decode = false;
  bool no_special_tokens = false;
};

absl::Status Tokenize(Client* client, const TokenizeFlags& flags, const CommonFlags& common) {
  v1::TokenizeRequest request;
  ASSIGN_OR_RETURN(*request.mutable_text(), ReadText(flags.text));
  request.set_add_special_tokens(!flags.no_special_tokens);
  ASSIGN_OR_RETURN(const v1::TokenizeResponse response,
                   client->Tokenize(request, common.call_options()));
  if (common.json) {
    std::cout << ToJson(response) << "\n";
  } else if (flags.pieces) {
    for (int i = 0; i < response.token_ids_size(); ++i) {
      std::cout << response.token_ids(i) << "\t" << response.pieces(i) << "\n";
    }
  } else {
    std::cout << fmt::format("{}\n", fmt::join(response.token_ids(), " "));
  }
  return absl::OkStatus();
}

absl::Status Detokenize(Client* client, const TokenizeFlags& flags, const CommonFlags& common) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(flags.text));
  v1::DetokenizeRequest request;
  std::istringstream ids(text);
  for (uint32_t id = 0; ids >> id;) request.add_token_ids(id);
  if (!ids.eof()) {
    return absl::InvalidArgumentError("--decode takes token ids, separated by spaces");
  }
  ASSIGN_OR_RETURN(const v1::DetokenizeResponse response,
                   client->Detokenize(request, common.call_options()));
  std::cout << (common.json ? ToJson(response) : response.text()) << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddTokenizeCommand(CLI::App* app, const CommonFlags* common, Action* action) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* command = app->add_subcommand("tokenize", "Text to token ids, or back with --decode");
  command->add_option("text", flags->text, "The text or the ids; -: from standard input")
      ->required();
  command->add_flag("--pieces", flags->pieces, "One token a line, with how it is written");
  command->add_flag("--decode", flags->decode, "Token ids to text");
  command->add_flag("--no-special-tokens", flags->no_special_tokens, "Leave out BOS");
  command->callback([=] {
    *action = [=](Client* client) {
      return flags->decode ? Detokenize(client, *flags, *common)
                           : Tokenize(client, *flags, *common);
    };
  });
}

}  // namespace strata::client
