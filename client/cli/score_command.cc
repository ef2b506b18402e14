// strata score: how likely the model finds given continuations.

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/command.h"
#include "client/status_macros.h"

namespace strata::client {
namespace {

struct ScoreFlags {
  std::string context;
  std::vector<std::string> continuations;
};

absl::Status Score(Client* client, const ScoreFlags& flags, const CommonFlags& common) {
  v1::ScoreRequest request;
  ASSIGN_OR_RETURN(*request.mutable_text(), ReadText(flags.context));
  for (const std::string& text : flags.continuations) request.add_continuations(text);
  ASSIGN_OR_RETURN(const v1::ScoreResponse response, client->Score(request, common.call_options()));
  for (int i = 0; i < response.scores_size(); ++i) {
    const v1::Score& score = response.scores(i);
    if (common.json) {
      std::cout << ToJson(score) << "\n";
      continue;
    }
    const bool greedy = std::all_of(score.is_greedy().begin(), score.is_greedy().end(),
                                    [](bool token) { return token; });
    std::cout << fmt::format("{:10.4f}  {:9.4f} per token  {}  {}\n", score.total(),
                             score.total() / std::max(score.logprobs_size(), 1),
                             greedy ? "greedy" : "      ", flags.continuations[i]);
  }
  return absl::OkStatus();
}

}  // namespace

void AddScoreCommand(CLI::App* app, const CommonFlags* common, Action* action) {
  auto flags = std::make_shared<ScoreFlags>();
  CLI::App* command =
      app->add_subcommand("score",
                          "Log-probabilities of continuations: their sum, the mean per "
                          "token, and whether each token was the likeliest");
  command->add_option("context", flags->context, "What comes before; -: from standard input")
      ->required();
  command->add_option("continuation", flags->continuations, "One or several continuations")
      ->required();
  command->callback(
      [=] { *action = [=](Client* client) { return Score(client, *flags, *common); }; });
}

}  // namespace strata::client
