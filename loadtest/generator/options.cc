#include "loadtest/generator/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <memory>
#include <sstream>
#include <utility>

#include "client/connect_flags.h"
#include "client/status_macros.h"

namespace strata::loadtest {
namespace {

// What the flags say, before it is checked.
struct Flags {
  std::string mix;
  std::string prompt = "import os\n";
  int prompt_tokens = 0;
  int max_new_tokens = 64;
  double cancel_share = 0;
  double timeout_s = 120;
  double slo_ttft_ms = 0;
  double slo_token_time_ms = 0;
  client::ConnectFlags connect;
};

void AddLoadFlags(CLI::App* run, Options* options, Flags* flags) {
  flags->connect.AddTo(run);
  auto* rate = run->add_option("--rate", options->rates,
                               "Calls per second, at random times; several: a run each")
                   ->delimiter(',')
                   ->check(CLI::PositiveNumber);
  auto* concurrency = run->add_option("--concurrency", options->concurrencies,
                                      "Calls at a time, instead; several: a run each")
                          ->delimiter(',')
                          ->check(CLI::PositiveNumber);
  auto* trace = run->add_option("--trace", options->trace,
                                "CSV of arrivals, instead: arrival_s,prompt_tokens,output_tokens");
  rate->excludes(concurrency)->excludes(trace);
  concurrency->excludes(trace);
  run->add_option("--duration", options->load.duration_s, "Seconds of each run")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  run->add_option("--warmup", options->load.warmup_s, "Seconds before them that do not count")
      ->check(CLI::NonNegativeNumber);
  run->add_option("--calls", options->load.max_calls, "End after so many calls")
      ->check(CLI::NonNegativeNumber);
  run->add_option("--connections", options->num_connections, "Connections to spread calls over")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  run->add_option("--max-in-flight", options->load.max_in_flight,
                  "Calls due beyond so many are not sent, and counted")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  run->add_option("--timeout", flags->timeout_s, "Deadline of a call in seconds")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  run->add_option("--seed", options->seed, "Makes arrivals and requests the same again")
      ->capture_default_str();
}

void AddMixFlags(CLI::App* run, Flags* flags) {
  auto* mix = run->add_option("--mix", flags->mix, "JSON file: kinds of requests, with weights");
  const auto without_mix = [mix](CLI::Option* option) { option->excludes(mix); };
  without_mix(run->add_option("--prompt", flags->prompt, "The prompt of every call"));
  without_mix(run->add_option("--prompt-tokens", flags->prompt_tokens,
                              "Random prompts of so many tokens, instead")
                  ->check(CLI::PositiveNumber));
  without_mix(run->add_option("--max-new-tokens", flags->max_new_tokens, "Tokens to generate")
                  ->check(CLI::PositiveNumber)
                  ->capture_default_str());
  without_mix(run->add_option("--cancel", flags->cancel_share, "Share of calls cancelled halfway")
                  ->check(CLI::Range(0.0, 1.0)));
}

void AddReportFlags(CLI::App* run, Options* options, Flags* flags) {
  run->add_option("--slo-ttft-ms", flags->slo_ttft_ms, "A good call's first token comes within it")
      ->check(CLI::PositiveNumber);
  run->add_option("--slo-token-time-ms", flags->slo_token_time_ms,
                  "And the others, on average, within this")
      ->check(CLI::PositiveNumber);
  run->add_option("--json", options->json_path, "Write the figures to this file");
  run->add_option("--csv", options->csv_path, "Write a row per call to this file");
  run->add_option("--html", options->html_path, "Write a report with charts to this file");
  run->add_flag("--quiet", options->quiet, "Show no progress");
}

absl::StatusOr<std::vector<MixEntry>> MakeMix(const Flags& flags) {
  if (!flags.mix.empty()) {
    ASSIGN_OR_RETURN(const std::string json, ReadFile(flags.mix));
    absl::StatusOr<std::vector<MixEntry>> mix = ParseMix(json);
    if (mix.ok()) return mix;
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", flags.mix, std::string(mix.status().message())));
  }
  MixEntry entry;
  entry.name = "all";
  entry.request.set_text(flags.prompt);
  if (flags.prompt_tokens > 0) entry.prompt_tokens = {flags.prompt_tokens, flags.prompt_tokens};
  entry.max_new_tokens = {flags.max_new_tokens, flags.max_new_tokens};
  entry.cancel_share = flags.cancel_share;
  return std::vector<MixEntry>{std::move(entry)};
}

absl::Status Finish(const Flags& flags, Options& options) {
  if (options.rates.empty() && options.concurrencies.empty() && options.trace.empty()) {
    return absl::InvalidArgumentError("how much load? give --rate, --concurrency or --trace");
  }
  ASSIGN_OR_RETURN(options.mix, MakeMix(flags));
  options.level = {flags.slo_ttft_ms / 1000, flags.slo_token_time_ms / 1000};
  options.load.call.timeout =
      std::chrono::milliseconds(static_cast<int64_t>(flags.timeout_s * 1e3));
  ASSIGN_OR_RETURN(options.server, flags.connect.options());
  options.load.call.token = options.server.token;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::NotFoundError(fmt::format("{}: cannot be read", path));
  }
  return text.str();
}

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& args) {
  CommandLine line;
  Flags flags;
  CLI::App app("Puts load on a strata-server, and says how it took it.", "strata-loadtest");
  app.require_subcommand(1);
  CLI::App* run = app.add_subcommand("run", "Load a server");
  AddLoadFlags(run, &line.options, &flags);
  AddMixFlags(run, &flags);
  AddReportFlags(run, &line.options, &flags);
  CLI::App* compare = app.add_subcommand("compare", "Two reports of --json, side by side");
  compare->add_option("first", line.compare_first)->required();
  compare->add_option("second", line.compare_second)->required();
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));  // CLI11 takes them reversed
  } catch (const CLI::CallForHelp&) {
    line.help = (run->parsed() ? run : compare->parsed() ? compare : &app)->help();
    return line;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (run->parsed()) RETURN_IF_ERROR(Finish(flags, line.options));
  return line;
}

}  // namespace strata::loadtest
