#include "bench/speculative.h"

#include <fmt/format.h>

#include <set>
#include <string>
#include <utility>

#include "engine/status_macros.h"

namespace strata::bench {
namespace {

GenerateRequest PromptRequest(const Options& options) {
  GenerateRequest request;
  request.prompt = options.prompt;
  request.sampling.temperature = options.temperature;
  request.sampling.seed = 1;  // the same text in every repetition
  request.stopping.max_new_tokens = options.decode_tokens;
  request.stopping.ignore_eos = true;
  return request;
}

double Rate(const Measurement& run) { return run.tokens_per_second(); }

double SecondsPerRound(const Measurement& run) {
  return Seconds(run.decode_rounds.total_time) / run.num_decode_rounds;
}

double SecondsPerMicroStep(const Measurement& run) {
  return Seconds(run.decode_rounds.draft_time) / std::max(1, run.decode_rounds.draft_micro_steps);
}

Row MakeRow(std::string name, const std::vector<Measurement>& plain_runs,
            const std::vector<Measurement>& runs) {
  const Measurement& any = runs.front();  // counts are the same in every repetition
  const SpeculationStats& stats = any.speculation;
  const double rounds = std::max(1, stats.rounds);
  Speculative result;
  result.acceptance_rate = stats.drafted_tokens == 0
                               ? 0
                               : static_cast<double>(stats.accepted_tokens) / stats.drafted_tokens;
  result.tokens_per_round = any.decoded_tokens / rounds;
  result.draft_cost = MedianOf(runs, SecondsPerMicroStep) / MedianOf(plain_runs, SecondsPerRound);
  result.speedup = MedianOf(runs, Rate) / MedianOf(plain_runs, Rate);
  const double micro_steps = any.decode_rounds.draft_micro_steps / rounds;
  result.predicted_speedup = result.tokens_per_round / (1 + micro_steps * result.draft_cost);
  return {.name = std::move(name),
          .value = MedianOf(runs, Rate),
          .unit = "tokens/s",
          .limit = MedianOf(plain_runs, Rate) * result.predicted_speedup,
          .speculative = result};
}

// Autoregressive and speculative runs take turns, so that a drift of the machine's speed hits both.
absl::Status MeasurePoint(const Session& session, std::string name,
                          const Speculation& speculation) {
  const GenerateRequest plain = PromptRequest(session.options);
  GenerateRequest speculative = plain;
  speculative.speculation = speculation;
  std::vector<Measurement> plain_runs, runs;
  for (int i = 0; i < session.options.repeat; ++i) {
    ASSIGN_OR_RETURN(Measurement baseline, Measure(session.engine, session.rounds, {plain}));
    ASSIGN_OR_RETURN(Measurement run, Measure(session.engine, session.rounds, {speculative}));
    plain_runs.push_back(std::move(baseline));
    runs.push_back(std::move(run));
  }
  session.report.rows.push_back(MakeRow(std::move(name), plain_runs, runs));
  return absl::OkStatus();
}

}  // namespace

std::vector<int> DefaultExitLayers(int num_layers) {
  // A set, because shallow models round several fractions to one layer.
  std::set<int> exits;
  for (const int part : {16, 8, 4, 2}) exits.insert(std::max(1, num_layers / part));
  exits.erase(exits.lower_bound(num_layers), exits.end());
  return {exits.begin(), exits.end()};
}

absl::Status MeasureSpeculative(const Session& session) {
  std::vector<int> exits = session.options.exit_layers;
  if (exits.empty()) exits = DefaultExitLayers(session.engine.checkpoint().config().num_layers);
  Speculation speculation;
  speculation.mode = Speculation::Mode::kFixed;
  for (const int exit_layer : exits) {
    for (const int drafts : session.options.draft_tokens) {
      speculation.exit_layer = exit_layer;
      speculation.num_draft_tokens = drafts;
      RETURN_IF_ERROR(MeasurePoint(session, fmt::format("speculative_e{}_k{}", exit_layer, drafts),
                                   speculation));
    }
  }
  Speculation automatic;
  automatic.mode = Speculation::Mode::kAuto;
  return MeasurePoint(session, "speculative_auto", automatic);
}

}  // namespace strata::bench
