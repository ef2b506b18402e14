#include "bench/options.h"

#include <CLI/CLI.hpp>
#include <map>

namespace strata::bench {
namespace {

const std::map<std::string, Group>& GroupNames() {
  static const std::map<std::string, Group> names = {
      {"start-up", Group::kStartUp},  {"prefill", Group::kPrefill},
      {"decode", Group::kDecode},     {"context", Group::kContext},
      {"memory", Group::kMemory},     {"speculative", Group::kSpeculative},
      {"overhead", Group::kOverhead}, {"verification", Group::kVerification},
      {"policy", Group::kPolicy}};
  return names;
}

constexpr char kDescription[] =
    "Measures the Strata engine in process, without gRPC, against this machine's limits.\n"
    "Groups of rows, for --only:\n"
    "  start-up     seconds from the checkpoint's folder to an engine that answers\n"
    "  prefill      one prompt, by its length\n"
    "  decode       sequences decoded at once, by their number\n"
    "  context      one sequence decoded behind a prompt, by its length; long ones take long\n"
    "  speculative  the grid of exit layers and draft lengths, and the server's auto\n"
    "  memory       what the process holds in the end\n"
    "and, only where asked for:\n"
    "  verification drafts accepted of a sampled text's, verified together and one by one\n"
    "  policy       auto beside off and the whole grid, for code, prose and random text; takes "
    "long\n"
    "  overhead     a round's time with a backend that computes nothing";

void AddWork(CLI::App& app, Options& options, std::vector<std::string>& groups) {
  app.add_option("--only", groups, "Groups to measure, separated by commas; none: the first six")
      ->delimiter(',')
      ->check(CLI::IsMember(GroupNames()));
  app.add_option("--tokens", options.decode_tokens, "Tokens generated per sequence")
      ->check(CLI::Range(2, 4096));
  app.add_option("--repeat", options.repeat, "Repetitions, of which the median counts")
      ->check(CLI::Range(1, 100));
  app.add_option("--prefill-tokens", options.prefill_tokens, "Lengths of prompts")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--batch-sizes", options.batch_sizes, "Sequences decoded at once")
      ->delimiter(',')
      ->check(CLI::Range(1, 512));
  app.add_option("--policy-batch-sizes", options.policy_batch_sizes,
                 "Sequences at once in the policy group")
      ->delimiter(',')
      ->check(CLI::Range(1, 512));
  app.add_option("--contexts", options.contexts, "Tokens in the context while one is decoded")
      ->delimiter(',')
      ->check(CLI::Range(8, 1 << 20));
}

void AddSpeculation(CLI::App& app, Options& options) {
  app.add_option("--prompt", options.prompt, "Prompt of the speculative rows")
      ->default_str("a function to complete");
  app.add_option("--temperature", options.temperature, "Of the speculative rows; 0: greedy");
  app.add_option("--exit-layers", options.exit_layers,
                 "Exit layers of the speculative grid; none: fractions of the depth")
      ->delimiter(',');
  app.add_option("--draft-tokens", options.draft_tokens, "Draft lengths of the speculative grid")
      ->delimiter(',');
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& args) {
  CommandLine result;
  Options& options = result.options;
  std::string dtype;
  std::string device = "cpu";
  std::string deterministic = "on";
  std::vector<std::string> groups;
  CLI::App app(kDescription, "strata-bench");
  app.option_defaults()->always_capture_default();
  app.add_option("--model", options.model, "Checkpoint folder")->required();
  app.add_option("--dtype", dtype,
                 "Weight type, f16 on GPUs only; by default a packed folder's own, else bf16")
      ->check(CLI::IsMember({"bf16", "f16", "f32", "int8", "int4"}));
  app.add_option("--threads", options.num_threads, "Threads; 0: one per core")
      ->check(CLI::Range(0, 1024));
  app.add_flag("--pin-threads", options.pin_threads, "Each thread stays on a core of its own");
  app.add_option("--tensor-parallel", options.tensor_parallel,
                 "Ranks that the model is split over; they share the threads, or are GPUs")
      ->check(CLI::Range(1, 64));
  app.add_option("--device", device,
                 "Where the model runs; figures of a GPU stand beside no limits")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--deterministic", deterministic,
                 "On a GPU: answers do not depend on what runs beside them")
      ->check(CLI::IsMember({"on", "off"}));
  AddWork(app, options, groups);
  AddSpeculation(app, options);
  app.add_option("--text", options.text,
                 "File to score: adds nll, its negative log-likelihood a token");
  app.add_flag("--json", result.json, "Print JSON instead of a table");
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));  // as CLI11 wants them
  } catch (const CLI::CallForHelp&) {
    result.help = app.help();
    return result;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (kernels::ParseWeightFormat(dtype.c_str(), &options.weights)) options.dtype = options.weights;
  options.on_gpu = device == "cuda";
  options.deterministic = deterministic == "on";
  if (!groups.empty()) options.groups.clear();
  for (const std::string& name : groups) options.groups.insert(GroupNames().at(name));
  return result;
}

}  // namespace strata::bench
