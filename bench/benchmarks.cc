#include "bench/benchmarks.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "bench/workload.h"
#include "engine/engine.h"
#include "engine/status_macros.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/limits.h"

namespace strata::bench {
namespace {

constexpr int kPrefillTokens = 512;
constexpr int kBatchPromptTokens = 16;
// Beyond the last-level caches of today's servers, so that memory is measured.
constexpr size_t kBandwidthBytes = size_t{1} << 30;

template <typename T, typename Projection>
double MedianOf(std::vector<T> items, Projection value) {
  std::vector<double> values;
  for (const T& item : items) values.push_back(value(item));
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// What one token costs by arithmetic alone, to set limits.
struct ModelCost {
  double layer_params = 0;  // of all layers' matrices
  double head_params = 0;
  double bytes_per_param = 0;
  bool quantized = false;

  explicit ModelCost(const ModelConfig& config, kernels::WeightFormat weights)
      : bytes_per_param(kernels::BytesPerWeight(weights)),
        quantized(weights == kernels::WeightFormat::kInt8 ||
                  weights == kernels::WeightFormat::kInt4) {
    const double hidden = config.hidden_size;
    const double attention_rows = (config.num_heads + 2.0 * config.num_kv_heads) * config.head_dim;
    const double out = static_cast<double>(config.num_heads) * config.head_dim;
    layer_params =
        config.num_layers * hidden * (attention_rows + out + 3.0 * config.intermediate_size);
    head_params = hidden * config.vocab_size;
  }

  double DotPeak(const Limits& limits) const {
    return (quantized ? limits.int8_gop_s : limits.bf16_gflop_s) * 1e9;
  }

  // Tokens per second of one row in each of `num_sequences`: each step reads all weights once.
  double DecodeLimit(const Limits& limits, int num_sequences) const {
    const double params = layer_params + head_params;
    const double read_seconds = params * bytes_per_param / (limits.read_gb_s * 1e9);
    const double math_seconds = 2 * params * num_sequences / DotPeak(limits);
    return num_sequences / std::max(read_seconds, math_seconds);
  }

  // Only the last row of a prompt passes the head.
  double PrefillLimit(const Limits& limits, int num_tokens) const {
    const double flop = 2 * (layer_params * num_tokens + head_params);
    return num_tokens / (flop / DotPeak(limits));
  }
};

class Bench {
 public:
  Bench(const Options& options, Engine* engine, RoundTotals* rounds, Report* report)
      : options_(options),
        engine_(engine),
        rounds_(rounds),
        report_(report),
        cost_(engine->checkpoint().config(), options.weights) {}

  absl::Status Prefill();
  absl::Status Decode(int num_sequences);
  absl::Status SpeculativeGrid();

 private:
  GenerateRequest MakeRequest(int prompt_tokens, int new_tokens, int variant) const;
  GenerateRequest PromptRequest() const;
  absl::StatusOr<std::vector<Measurement>> Repeat(const std::vector<GenerateRequest>& requests);
  absl::Status MeasurePoint(int exit_layer, int num_drafts);

  const Options& options_;
  Engine* const engine_;
  RoundTotals* const rounds_;
  Report* const report_;
  const ModelCost cost_;
};

// Token ids without meaning: speed does not depend on them. Never the same twice, so that no
// cache can help.
GenerateRequest Bench::MakeRequest(int prompt_tokens, int new_tokens, int variant) const {
  const int vocab_size = engine_->checkpoint().config().vocab_size;
  std::vector<TokenId> prompt;
  for (int i = 0; i < prompt_tokens; ++i) {
    prompt.push_back(static_cast<TokenId>((7919 * (i + 1) + 104729 * (variant + 1)) % vocab_size));
  }
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.stopping.max_new_tokens = new_tokens;
  request.stopping.ignore_eos = true;
  return request;
}

GenerateRequest Bench::PromptRequest() const {
  GenerateRequest request;
  request.prompt = options_.prompt;
  request.sampling.temperature = options_.temperature;
  request.sampling.seed = 1;  // the same text in every repetition
  request.stopping.max_new_tokens = options_.decode_tokens;
  request.stopping.ignore_eos = true;
  return request;
}

absl::StatusOr<std::vector<Measurement>> Bench::Repeat(
    const std::vector<GenerateRequest>& requests) {
  std::vector<Measurement> measurements;
  for (int i = 0; i < options_.repeat; ++i) {
    ASSIGN_OR_RETURN(Measurement measurement, Measure(*engine_, *rounds_, requests));
    measurements.push_back(std::move(measurement));
  }
  return measurements;
}

absl::Status Bench::Prefill() {
  const int num_tokens = std::min(kPrefillTokens, engine_->max_context() - 1);
  ASSIGN_OR_RETURN(const auto runs, Repeat({MakeRequest(num_tokens, 1, 0)}));
  const double seconds = MedianOf(runs, [](const Measurement& m) { return m.prefill_seconds; });
  report_->rows.push_back({fmt::format("prefill_{}", num_tokens), num_tokens / seconds, "tokens/s",
                           cost_.PrefillLimit(report_->limits, num_tokens), std::nullopt});
  return absl::OkStatus();
}

absl::Status Bench::Decode(int num_sequences) {
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < num_sequences; ++i) {
    requests.push_back(MakeRequest(kBatchPromptTokens, options_.decode_tokens, i));
  }
  ASSIGN_OR_RETURN(const auto runs, Repeat(requests));
  const double rate = MedianOf(runs, [](const Measurement& m) { return m.tokens_per_second(); });
  report_->rows.push_back({fmt::format("decode_{}", num_sequences), rate, "tokens/s",
                           cost_.DecodeLimit(report_->limits, num_sequences), std::nullopt});
  return absl::OkStatus();
}

absl::Status Bench::SpeculativeGrid() {
  const int num_layers = engine_->checkpoint().config().num_layers;
  std::vector<int> exits = options_.exit_layers;
  if (exits.empty()) {
    // A set, because shallow models round several fractions to one layer.
    std::set<int> fractions;
    for (const int part : {16, 8, 4, 2}) fractions.insert(std::max(1, num_layers / part));
    exits.assign(fractions.begin(), fractions.end());
    std::erase_if(exits, [&](int exit) { return exit >= num_layers; });
  }
  for (const int exit : exits) {
    for (const int drafts : options_.draft_tokens) RETURN_IF_ERROR(MeasurePoint(exit, drafts));
  }
  return absl::OkStatus();
}

// Autoregressive and speculative runs take turns, so that a drift of the machine's speed hits both.
absl::Status Bench::MeasurePoint(int exit_layer, int num_drafts) {
  const GenerateRequest plain = PromptRequest();
  GenerateRequest speculative = plain;
  speculative.speculation.mode = Speculation::Mode::kFixed;
  speculative.speculation.exit_layer = exit_layer;
  speculative.speculation.num_draft_tokens = num_drafts;
  std::vector<Measurement> plain_runs, runs;
  for (int i = 0; i < options_.repeat; ++i) {
    ASSIGN_OR_RETURN(Measurement baseline, Measure(*engine_, *rounds_, {plain}));
    ASSIGN_OR_RETURN(Measurement measured, Measure(*engine_, *rounds_, {speculative}));
    plain_runs.push_back(std::move(baseline));
    runs.push_back(std::move(measured));
  }
  const auto rate = [](const Measurement& m) { return m.tokens_per_second(); };
  const double round_seconds = MedianOf(plain_runs, [](const Measurement& m) {
    return Seconds(m.decode_rounds.total_time) / m.num_decode_rounds;
  });
  const double micro_step_seconds = MedianOf(runs, [](const Measurement& m) {
    return Seconds(m.decode_rounds.draft_time) / std::max(1, m.decode_rounds.draft_micro_steps);
  });
  const Measurement& any = runs.front();  // counts are the same in every repetition
  const double rounds = std::max(1, any.speculation.rounds);
  Speculative result;
  result.acceptance_rate =
      any.speculation.drafted_tokens == 0
          ? 0
          : static_cast<double>(any.speculation.accepted_tokens) / any.speculation.drafted_tokens;
  result.tokens_per_round = any.decoded_tokens / rounds;
  result.draft_cost = micro_step_seconds / round_seconds;
  result.speedup = MedianOf(runs, rate) / MedianOf(plain_runs, rate);
  const double micro_steps = any.decode_rounds.draft_micro_steps / rounds;
  result.predicted_speedup = result.tokens_per_round / (1 + micro_steps * result.draft_cost);
  report_->rows.push_back({fmt::format("speculative_e{}_k{}", exit_layer, num_drafts),
                           MedianOf(runs, rate), "tokens/s",
                           MedianOf(plain_runs, rate) * result.predicted_speedup, result});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Engine>> OpenEngine(const Options& options, RoundTotals* rounds) {
  ASSIGN_OR_RETURN(auto checkpoint, Checkpoint::Open(options.model));
  ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::Open(options.model, checkpoint->config().vocab_size));
  EngineOptions engine_options;
  engine_options.max_sequences =
      *std::max_element(options.batch_sizes.begin(), options.batch_sizes.end());
  engine_options.max_context = std::min(checkpoint->config().max_position_embeddings,
                                        kPrefillTokens + options.decode_tokens);
  try {
    return Engine::Create(std::move(checkpoint), std::move(tokenizer),
                          kernels::CreateCpuBackend({options.weights, options.num_threads, ""}),
                          engine_options, rounds, nullptr);
  } catch (const kernels::DeviceError& error) {
    return absl::InvalidArgumentError(error.what());
  }
}

}  // namespace

absl::StatusOr<Report> RunBenchmarks(const Options& options) {
  RoundTotals rounds;
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenEngine(options, &rounds));
  Report report;
  report.model = engine->checkpoint().config().name;
  report.backend = engine->backend_description();
  report.limits = {kernels::MeasureReadBandwidth(options.num_threads, kBandwidthBytes),
                   kernels::MeasureBf16Peak(options.num_threads),
                   kernels::MeasureInt8Peak(options.num_threads)};
  Bench bench(options, engine.get(), &rounds, &report);
  RETURN_IF_ERROR(bench.Prefill());
  for (const int batch_size : options.batch_sizes) RETURN_IF_ERROR(bench.Decode(batch_size));
  RETURN_IF_ERROR(bench.SpeculativeGrid());
  return report;
}

}  // namespace strata::bench
