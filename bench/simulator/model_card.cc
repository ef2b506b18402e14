#include "bench/simulator/model_card.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "bench/simulator/model_shapes.h"
#include "bench/simulator/simulation.h"
#include "engine/status_macros.h"

namespace strata::sim {
namespace {

// Plain decoding of one sequence, bf16 or fp16.
struct PublishedSpeed {
  const char* source;
  const char* model;
  const char* hardware;
  int tensor_parallel;
  int context_tokens;
  double tokens_per_s;
};

// gpt-fast's README (its A100s are limited to 330 W and read 1.7 TB/s at best); the LayerSkip blog
// of Hugging Face gives ms per token; the model card of layerskip-llama2-70B tokens per second.
constexpr std::array<PublishedSpeed, 10> kSpeeds = {{
    {"gpt-fast", "llama2-7b", "1xA100", 1, 100, 104.9},
    {"gpt-fast", "llama2-7b", "8xA100", 8, 100, 328.4},
    {"gpt-fast", "llama2-70b", "8xA100", 2, 100, 21.3},
    {"gpt-fast", "llama2-70b", "8xA100", 4, 100, 38.0},
    {"gpt-fast", "llama2-70b", "8xA100", 8, 100, 62.5},
    {"blog", "llama2-7b", "transformers-A100", 1, 1000, 1000 / 25.83},
    {"blog", "llama2-13b", "transformers-A100", 1, 1000, 1000 / 33.55},
    {"blog", "llama3-8b", "transformers-A100", 1, 1000, 1000 / 28.87},
    {"blog", "llama2-70b", "transformers-A100", 1, 1000, 1000 / 113.2},
    {"model card", "llama2-70b", "transformers-A100", 1, 150, 9.89},
}};

struct PublishedSpeedup {
  const char* source;
  const char* model;
  int exit_layer;
  int context_tokens;
  double speedup;
};

constexpr std::array<PublishedSpeedup, 7> kSpeedups = {{
    {"model card, code", "llama2-70b", 10, 150, 12.49 / 9.89},
    {"blog, code", "llama2-70b", 10, 300, 1.52},
    {"blog, open-ended", "llama2-70b", 10, 300, 1.83},
    {"blog, summarization", "llama2-70b", 10, 1000, 2.06},
    {"blog, summarization", "llama2-13b", 8, 1000, 1.746},
    {"blog, summarization", "llama2-7b", 4, 1000, 1.297},
    {"blog, summarization", "llama3-8b", 4, 1000, 1.83},
}};

absl::StatusOr<Roofline> MakeRoofline(const char* model, const char* hardware, int ranks) {
  ASSIGN_OR_RETURN(const ModelConfig config, FindModelShape(model));
  ASSIGN_OR_RETURN(const Hardware machine, FindHardware(hardware));
  return Roofline(config, machine, kernels::WeightFormat::kBF16, ranks);
}

absl::StatusOr<std::string> SpeedsToText() {
  std::string text = fmt::format(
      "Plain decoding of one sequence, tokens/s\n{:<12}{:<12}{:<19}{:>3}{:>11}{:>9}{:>8}\n",
      "source", "model", "hardware", "TP", "published", "modelled", "ratio");
  for (const PublishedSpeed& speed : kSpeeds) {
    ASSIGN_OR_RETURN(const Roofline roofline,
                     MakeRoofline(speed.model, speed.hardware, speed.tensor_parallel));
    const double modelled = 1 / roofline.DecodeSeconds(speed.context_tokens);
    text += fmt::format("{:<12}{:<12}{:<19}{:>3}{:>11.1f}{:>9.1f}{:>8.2f}\n", speed.source,
                        speed.model, speed.hardware, speed.tensor_parallel, speed.tokens_per_s,
                        modelled, modelled / speed.tokens_per_s);
  }
  return text;
}

absl::StatusOr<std::string> ImpliedToText() {
  constexpr std::array<int, 4> kDrafts = {2, 4, 6, 8};
  std::string text =
      "\nAcceptance that published speed-ups imply on transformers-A100, by drafts a round\n";
  text += fmt::format("{:<21}{:<12}{:>3}{:>9}", "source", "model", "E", "speed-up");
  for (const int drafts : kDrafts) text += fmt::format("{:>8}", fmt::format("K={}", drafts));
  text += "\n";
  for (const PublishedSpeedup& published : kSpeedups) {
    ASSIGN_OR_RETURN(const Roofline roofline,
                     MakeRoofline(published.model, "transformers-A100", 1));
    text += fmt::format("{:<21}{:<12}{:>3}{:>8.2f}x", published.source, published.model,
                        published.exit_layer, published.speedup);
    for (const int drafts : kDrafts) {
      const double implied = ImpliedAcceptance(roofline, published.exit_layer, drafts,
                                               published.speedup, published.context_tokens, false);
      text += implied < 1 ? fmt::format("{:>8.3f}", implied) : fmt::format("{:>8}", "-");
    }
    text += "\n";
  }
  return text;
}

// The whole engine at batch 1, with independent acceptance, over its own plain decoding.
absl::StatusOr<double> SimulatedSpeed(const ModelConfig& model, const Hardware& hardware,
                                      double acceptance, int exit_layer, int num_drafts) {
  SimulationOptions options;
  options.model = model;
  options.hardware = hardware;
  options.acceptance.exits = {{exit_layer, acceptance}};
  options.acceptance.request_spread = 0;
  options.acceptance.token_spread = 0;
  options.concurrency = 1;
  options.kv_tokens = 8192;
  options.time_noise = 0;
  if (num_drafts > 0) {
    options.speculation = {Speculation::Mode::kFixed, exit_layer, num_drafts, {}};
  }
  const Trace trace(20, TraceRequest{0, 0, 32, 512, -1, 0, TokenProcess::kDifficulties / 2});
  ASSIGN_OR_RETURN(const std::unique_ptr<Simulation> simulation,
                   Simulation::Create(options, trace));
  RETURN_IF_ERROR(simulation->Run());
  return 1 / Summarize(simulation->recorder()).token_time.mean();
}

absl::StatusOr<std::string> StrataToText() {
  constexpr int kImpliedDrafts = 4;  // LayerSkip's own scripts draft so many
  constexpr std::array<int, 5> kDrafts = {1, 2, 4, 6, 8};
  ASSIGN_OR_RETURN(const ModelConfig model, FindModelShape("llama2-70b"));
  ASSIGN_OR_RETURN(const Hardware hardware, FindHardware("8xA100"));
  ASSIGN_OR_RETURN(const Roofline eager, MakeRoofline("llama2-70b", "transformers-A100", 1));
  std::string text = fmt::format(
      "\nStrata on 8xA100, llama2-70b, exit 10, one sequence, with the acceptance implied at "
      "K={}:\n"
      "tokens/s, and speed-up simulated (by arithmetic)\n{:<21}{:>9}{:>8}",
      kImpliedDrafts, "source", "accepted", "off");
  for (const int drafts : kDrafts) text += fmt::format("{:>14}", fmt::format("K={}", drafts));
  text += "\n";
  const Roofline graph(model, hardware, kernels::WeightFormat::kBF16, hardware.num_devices);
  for (const PublishedSpeedup& published : kSpeedups) {
    if (std::string_view(published.model) != "llama2-70b") continue;
    const double accepted = ImpliedAcceptance(eager, published.exit_layer, kImpliedDrafts,
                                              published.speedup, published.context_tokens, false);
    ASSIGN_OR_RETURN(const double off, SimulatedSpeed(model, hardware, accepted, 10, 0));
    text += fmt::format("{:<21}{:>9.3f}{:>8.1f}", published.source, accepted, off);
    for (const int drafts : kDrafts) {
      ASSIGN_OR_RETURN(const double speed, SimulatedSpeed(model, hardware, accepted, 10, drafts));
      text += fmt::format("{:>6.2f}x ({:.2f})", speed / off,
                          PredictedSpeedup(graph, 10, drafts, accepted, 300, true));
    }
    text += "\n";
  }
  return text;
}

}  // namespace

double ImpliedAcceptance(const Roofline& roofline, int exit_layer, int num_drafts, double speedup,
                         int context_tokens, bool reuses_early_layers) {
  double low = 0, high = 1;
  for (int i = 0; i < 50; ++i) {
    const double middle = (low + high) / 2;
    const double predicted = PredictedSpeedup(roofline, exit_layer, num_drafts, middle,
                                              context_tokens, reuses_early_layers);
    (predicted < speedup ? low : high) = middle;
  }
  const bool enough = PredictedSpeedup(roofline, exit_layer, num_drafts, 1, context_tokens,
                                       reuses_early_layers) >= speedup;
  return enough ? high : 1;
}

absl::StatusOr<std::string> ModelCardToText() {
  ASSIGN_OR_RETURN(std::string text, SpeedsToText());
  ASSIGN_OR_RETURN(const std::string implied, ImpliedToText());
  ASSIGN_OR_RETURN(const std::string strata, StrataToText());
  return text + implied + strata;
}

}  // namespace strata::sim
