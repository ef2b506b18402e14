#include "bench/simulator/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "bench/simulator/model_shapes.h"
#include "engine/status_macros.h"

namespace strata::sim {
namespace {

constexpr char kDescription[] =
    "Simulates a Strata server: the real scheduler, round and policy, a model that only takes "
    "time.\n"
    "  run         one simulation: a summary, with --output also CSV files and a chart\n"
    "  trace       prints the requests that run would simulate, for --trace\n"
    "  model-card  published speeds and speed-ups, and what the cost model says of them\n"
    "  load        goodput of off, fixed settings and auto over requests at a time\n"
    "  contention  unequal tenants, a long prompt, a small KV pool, against their bounds";

const std::map<std::string, Command>& CommandNames() {
  static const std::map<std::string, Command> names = {{"run", Command::kRun},
                                                       {"trace", Command::kTrace},
                                                       {"model-card", Command::kModelCard},
                                                       {"load", Command::kLoad},
                                                       {"contention", Command::kContention}};
  return names;
}

const std::map<std::string, Speculation::Mode>& ModeNames() {
  static const std::map<std::string, Speculation::Mode> names = {
      {"off", Speculation::Mode::kOff},
      {"fixed", Speculation::Mode::kFixed},
      {"auto", Speculation::Mode::kAuto}};
  return names;
}

// Texts that are looked up or parsed after the command line has been.
struct Texts {
  std::string command = "run";
  std::string model = "llama2-70b";
  std::string hardware = "8xA100";
  std::string dtype = "bf16";
  std::string speculation = "auto";
  std::string acceptance;
  std::string prompt_lengths = "lognormal:256:1";
  std::string output_lengths = "lognormal:128:1";
};

void AddMachine(CLI::App& app, Texts& texts, SimulationOptions& options) {
  app.add_option("--model", texts.model, "Shape: llama2-{7b,13b,70b}, llama3-8b, llama3.2-1b");
  app.add_option("--hardware", texts.hardware,
                 "cpu, 1xA100, 8xA100, 1xH100, 8xH100, 1xH200, transformers-A100");
  app.add_option("--tensor-parallel", options.tensor_parallel, "Ranks; 0: all devices")
      ->check(CLI::Range(0, 8));
  app.add_option("--dtype", texts.dtype, "Weights")
      ->check(CLI::IsMember({"bf16", "f16", "f32", "int8", "int4"}));
  app.add_option("--kv-tokens", options.kv_tokens, "Tokens in the KV pool; 0: what fits")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  app.add_option("--time-noise", options.time_noise, "Relative deviation of each call's time")
      ->check(CLI::Range(0.0, 0.5));
}

void AddEngine(CLI::App& app, Texts& texts, SimulationOptions& options) {
  app.add_option("--max-batch-tokens", options.scheduler.max_batch_tokens, "Rows of one sweep")
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--max-sequences", options.scheduler.max_sequences, "Running at once")
      ->check(CLI::Range(1, 1 << 14));
  app.add_option("--max-prefill-chunk", options.scheduler.max_prefill_chunk,
                 "Rows of one prompt in one round")
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--max-queue", options.max_queue, "Waiting; more are refused")
      ->check(CLI::Range(0, 1 << 20));
  app.add_flag("!--no-prefix-cache", options.prefix_cache, "Compute shared prefixes again");
  app.add_flag("!--no-tenants", options.tells_tenants_apart,
               "Without fairness: all are one tenant");
  app.add_option("--speculation", texts.speculation, "Of all requests")
      ->check(CLI::IsMember(ModeNames()));
  app.add_option("--exit-layer", options.speculation.exit_layer, "With --speculation fixed");
  app.add_option("--num-draft-tokens", options.speculation.num_draft_tokens,
                 "With --speculation fixed; with auto the most")
      ->check(CLI::Range(0, 32));
}

void AddText(CLI::App& app, Texts& texts, AcceptanceOptions& options) {
  app.add_option("--acceptance", texts.acceptance,
                 "Mean acceptance by exit layer, e.g. 10:0.6,20:0.72; empty: by the depth");
  app.add_option("--request-spread", options.request_spread,
                 "Deviation of the log-odds of acceptance between requests");
  app.add_option("--token-spread", options.token_spread, "The same between tokens of a request");
  app.add_option("--correlation", options.correlation, "Of one token's ease with the next one's");
  app.add_option("--confidence-bias", options.confidence_bias, "Over-confidence, in log-odds");
  app.add_option("--confidence-noise", options.confidence_noise,
                 "What confidence does not know, in log-odds");
}

void AddTrace(CLI::App& app, Texts& texts, Options& options) {
  TraceOptions& trace = options.trace;
  app.add_option("--trace", options.trace_file, "CSV of requests, in place of the options below");
  app.add_option("--requests", trace.num_requests, "How many")->check(CLI::Range(1, 10'000'000));
  app.add_option("--rate", trace.requests_per_s, "Requests per second, Poisson");
  app.add_option("--concurrency", options.simulation.concurrency,
                 "So many clients, each with one request at a time, in place of --rate; 0: none")
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--burst-factor", trace.burst_factor, "Rate in bursts, of the rate between them");
  app.add_option("--burst-period", trace.burst_period_s, "Seconds from burst to burst");
  app.add_option("--prompt-tokens", texts.prompt_lengths,
                 "fixed:MEAN, lognormal:MEAN:SIGMA or pareto:MEAN:TAIL");
  app.add_option("--max-prompt-tokens", trace.prompt.max, "Longer prompts are cut");
  app.add_option("--output-tokens", texts.output_lengths, "As --prompt-tokens");
  app.add_option("--max-output-tokens", trace.output.max, "Longer answers are cut");
  app.add_option("--prefixes", trace.num_prefixes, "Different shared prefixes");
  app.add_option("--prefix-tokens", trace.prefix_tokens, "Length of each");
  app.add_option("--prefix-share", trace.prefix_share, "Part of the prompts that have one")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--tenants", trace.tenant_weights, "Each tenant's part of the requests, e.g. 10,1")
      ->delimiter(',');
  app.add_option("--seed", trace.seed, "Of everything random");
}

void AddLoad(CLI::App& app, Options& options) {
  app.add_option("--loads", options.loads, "load: requests at a time")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 14));
  app.add_option("--exit-layers", options.exit_layers, "load: fixed exits; none: by the depth")
      ->delimiter(',');
  app.add_option("--draft-tokens", options.draft_tokens, "load: fixed draft lengths")
      ->delimiter(',')
      ->check(CLI::Range(1, 32));
}

std::optional<double> ParseNumber(const std::string& text) {
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

absl::Status Resolve(const Texts& texts, Options& options) {
  SimulationOptions& simulation = options.simulation;
  options.command = CommandNames().at(texts.command);
  ASSIGN_OR_RETURN(simulation.model, FindModelShape(texts.model));
  ASSIGN_OR_RETURN(simulation.hardware, FindHardware(texts.hardware));
  kernels::ParseWeightFormat(texts.dtype.c_str(), &simulation.weights);
  simulation.speculation.mode = ModeNames().at(texts.speculation);
  simulation.seed = options.trace.seed;
  simulation.acceptance.exits = DefaultAcceptance(simulation.model.num_layers);
  if (!texts.acceptance.empty()) {
    ASSIGN_OR_RETURN(simulation.acceptance.exits, ParseAcceptance(texts.acceptance));
  }
  RETURN_IF_ERROR(ParseLengths(texts.prompt_lengths, options.trace.prompt));
  return ParseLengths(texts.output_lengths, options.trace.output);
}

}  // namespace

absl::Status ParseLengths(const std::string& text, Lengths& lengths) {
  static const std::map<std::string, Lengths::Kind> kinds = {
      {"fixed", Lengths::Kind::kFixed},
      {"lognormal", Lengths::Kind::kLogNormal},
      {"pareto", Lengths::Kind::kPareto}};
  const std::vector<std::string> parts = Split(text, ':');
  const auto kind = parts.empty() ? kinds.end() : kinds.find(parts[0]);
  const size_t wanted = kind != kinds.end() && kind->second == Lengths::Kind::kFixed ? 2 : 3;
  const auto mean = parts.size() > 1 ? ParseNumber(parts[1]) : std::nullopt;
  const auto shape = parts.size() > 2 ? ParseNumber(parts[2]) : std::optional(1.0);
  if (kind == kinds.end() || parts.size() != wanted || !mean || !shape) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is none of fixed:MEAN, lognormal:MEAN:SIGMA, pareto:MEAN:TAIL", text));
  }
  lengths.kind = kind->second;
  lengths.mean = *mean;
  lengths.shape = *shape;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ExitAcceptance>> ParseAcceptance(const std::string& text) {
  std::vector<ExitAcceptance> exits;
  for (const std::string& part : Split(text, ',')) {
    const std::vector<std::string> fields = Split(part, ':');
    const auto layer = fields.size() == 2 ? ParseNumber(fields[0]) : std::nullopt;
    const auto mean = fields.size() == 2 ? ParseNumber(fields[1]) : std::nullopt;
    if (!layer || !mean || *layer != static_cast<int>(*layer)) {
      return absl::InvalidArgumentError(
          fmt::format("--acceptance: \"{}\" is no LAYER:MEAN, such as 10:0.6", part));
    }
    exits.push_back({static_cast<int>(*layer), *mean});
  }
  return exits;
}

std::vector<ExitAcceptance> DefaultAcceptance(int num_layers) {
  constexpr std::pair<int, double> kByPart[] = {{16, 0.45}, {8, 0.6}, {4, 0.74}, {2, 0.88}};
  std::vector<ExitAcceptance> exits;
  for (const auto& [part, mean] : kByPart) {
    const int layer = std::max(1, num_layers / part);
    if (layer >= num_layers || (!exits.empty() && exits.back().exit_layer == layer)) continue;
    exits.push_back({layer, mean});
  }
  return exits;
}

absl::StatusOr<Options> ParseOptions(const std::vector<std::string>& args) {
  Options options;
  Texts texts;
  CLI::App app(kDescription, "strata-simulate");
  app.option_defaults()->always_capture_default();
  app.add_option("command", texts.command, "What to do")->check(CLI::IsMember(CommandNames()));
  AddMachine(app, texts, options.simulation);
  AddEngine(app, texts, options.simulation);
  AddText(app, texts, options.simulation.acceptance);
  AddTrace(app, texts, options);
  AddLoad(app, options);
  app.add_option("--output", options.output, "Folder for CSV files and charts; made if missing");
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));  // as CLI11 wants them
  } catch (const CLI::CallForHelp&) {
    options.help = app.help();
    return options;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  RETURN_IF_ERROR(Resolve(texts, options));
  return options;
}

}  // namespace strata::sim
