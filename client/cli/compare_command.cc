// strata compare: the same request autoregressively, then self-speculatively.

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <optional>
#include <ostream>

#include "client/cli/command.h"
#include "client/cli/comparison.h"
#include "client/cli/request_flags.h"
#include "client/cli/stats.h"
#include "client/cli/stream_printer.h"
#include "client/status_macros.h"

namespace strata::client {
namespace {

// The LayerSkip model card's example.
constexpr char kModelCardPrompt[] = "typing import List\ndef bucket_sort(A: List):";

struct CompareFlags {
  RequestFlags request;
  std::string prompt = kModelCardPrompt;
  int repeat = 1;
};

CompareFlags ModelCardFlags() {
  CompareFlags flags;
  flags.request.max_new_tokens = 512;
  flags.request.temperature = 0.6f;
  flags.request.top_p = 0.9f;
  flags.request.seed = 1;
  flags.request.speculation = "";
  return flags;
}

// Shows the answer on `out` if it is not null.
absl::StatusOr<ComparedRun> RunOnce(Client* client, const v1::GenerateRequest& request,
                                    const CommonFlags& common, std::ostream* out) {
  std::ostream nowhere(nullptr);
  StreamPrinter printer(out != nullptr ? out : &nowhere,
                        UseColor(common.color_mode(), STDOUT_FILENO), /*num_samples=*/1);
  RETURN_IF_ERROR(client->Generate(
      request, [&](const v1::GenerateResponse& r) { printer.OnResponse(r); },
      common.call_options()));
  printer.Finish();
  if (!printer.finished(0)) return absl::InternalError("the stream ended without Finished");
  return ComparedRun{printer.text(0), *printer.finished(0)};
}

// Runs `request` under a heading; keeps the faster of it and `best`.
absl::Status RunUnderHeading(Client* client, const v1::GenerateRequest& request,
                             const CommonFlags& common, const char* heading,
                             std::optional<ComparedRun>* best) {
  const bool show = !best->has_value() && !common.json;
  if (show) {
    const bool color = UseColor(common.color_mode(), STDOUT_FILENO);
    std::cout << Styled(fmt::format("--- {} ---\n{}", heading, request.text()), Style::kFaint,
                        color);
  }
  ASSIGN_OR_RETURN(const ComparedRun run,
                   RunOnce(client, request, common, show ? &std::cout : nullptr));
  if (show) std::cout << "\n\n" << std::flush;
  if (!*best || TokensPerSecond(run.finished) > TokensPerSecond((*best)->finished)) *best = run;
  return absl::OkStatus();
}

absl::Status Compare(Client* client, const CompareFlags& flags, const CommonFlags& common) {
  ASSIGN_OR_RETURN(v1::GenerateRequest speculative, MakeRequest(flags.request));
  ASSIGN_OR_RETURN(*speculative.mutable_text(), ReadText(flags.prompt));
  v1::GenerateRequest autoregressive = speculative;
  autoregressive.mutable_speculation()->mutable_off();
  autoregressive.mutable_output()->set_stream_drafts(false);
  if (speculative.speculation().mode_case() == v1::Speculation::MODE_NOT_SET) {
    speculative.mutable_speculation()->mutable_auto_();
  }
  const char* heading =
      UseColor(common.color_mode(), STDOUT_FILENO)
          ? "self-speculative: accepted drafts in green, rejected ones struck out in red"
          : "self-speculative";
  std::optional<ComparedRun> base;
  std::optional<ComparedRun> best;
  for (int i = 0; i < flags.repeat; ++i) {
    RETURN_IF_ERROR(RunUnderHeading(client, autoregressive, common, "autoregressive", &base));
    RETURN_IF_ERROR(RunUnderHeading(client, speculative, common, heading, &best));
  }
  const Comparison comparison{*base, *best};
  std::cout << (common.json ? comparison.ToJson() + "\n" : comparison.ToTable());
  return absl::OkStatus();
}

}  // namespace

void AddCompareCommand(CLI::App* app, const CommonFlags* common, Action* action) {
  auto flags = std::make_shared<CompareFlags>(ModelCardFlags());
  CLI::App* command = app->add_subcommand(
      "compare",
      "The same request autoregressively, then self-speculatively, and a table. "
      "Seeded, so that both give the same text. Without flags: the LayerSkip model "
      "card's example (512 tokens, temperature 0.6, top-p 0.9)");
  command->add_option("prompt", flags->prompt, "The prompt; -: read it from standard input");
  AddSamplingFlags(command, &flags->request);
  command->add_option("--exit-layer", flags->request.exit_layer, "Layers that draft");
  command->add_option("--num-draft-tokens", flags->request.num_draft_tokens,
                      "Tokens drafted per round");
  command
      ->add_flag("--show-drafts,!--hide-drafts", flags->request.show_drafts,
                 "Show rejected drafts too, struck out")
      ->default_val(true);
  command->add_option("--repeat", flags->repeat, "Runs of each, in turn; the table has the best")
      ->check(CLI::Range(1, 100));
  command->callback(
      [=] { *action = [=](Client* client) { return Compare(client, *flags, *common); }; });
}

}  // namespace strata::client
