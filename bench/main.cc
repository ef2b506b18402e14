// strata-bench: measures the engine in process, against the machine's limits.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>

#include "bench/benchmarks.h"
#include "bench/report.h"

int main(int argc, char** argv) {
  strata::bench::Options options;
  std::string dtype = "bf16";
  bool json = false;
  CLI::App app{
      "Measures the Strata engine in process, without gRPC, against this machine's limits."};
  app.option_defaults()->always_capture_default();
  app.add_option("--model", options.model, "Checkpoint folder")->required();
  app.add_option("--dtype", dtype, "Weight type")
      ->check(CLI::IsMember({"bf16", "f32", "int8", "int4"}));
  app.add_option("--threads", options.num_threads, "Threads; 0: one per core")
      ->check(CLI::Range(0, 1024));
  app.add_option("--prompt", options.prompt, "Prompt of the speculative rows");
  app.add_option("--temperature", options.temperature, "Of the speculative rows; 0: greedy");
  app.add_option("--tokens", options.decode_tokens, "Tokens generated per sequence")
      ->check(CLI::Range(2, 4096));
  app.add_option("--repeat", options.repeat, "Repetitions, of which the median counts")
      ->check(CLI::Range(1, 100));
  app.add_option("--exit-layers", options.exit_layers, "Exit layers of the speculative grid");
  app.add_option("--draft-tokens", options.draft_tokens, "Draft lengths of the speculative grid");
  app.add_option("--batch-sizes", options.batch_sizes, "Sequences decoded at once");
  app.add_flag("--json", json, "Print JSON instead of a table");
  CLI11_PARSE(app, argc, argv);
  strata::kernels::ParseWeightFormat(dtype.c_str(), &options.weights);

  const auto report = strata::bench::RunBenchmarks(options);
  if (!report.ok()) {
    std::fprintf(stderr, "strata-bench: %s\n", std::string(report.status().message()).c_str());
    return 1;
  }
  const std::string text =
      json ? strata::bench::ToJson(*report) + "\n" : strata::bench::ToTable(*report);
  std::fputs(text.c_str(), stdout);
  return 0;
}
