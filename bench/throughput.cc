#include "bench/throughput.h"

#include <fmt/format.h>

#include <functional>
#include <utility>

#include "bench/machine.h"
#include "engine/status_macros.h"

namespace strata::bench {
namespace {

// Token ids without meaning: speed does not depend on them. Never the same twice, so that no
// cache can help.
GenerateRequest MakeRequest(const Session& session, int prompt_tokens, int new_tokens,
                            int variant) {
  const int vocab_size = session.engine.checkpoint().config().vocab_size;
  std::vector<TokenId> prompt;
  for (int64_t i = 0; i < prompt_tokens; ++i) {
    prompt.push_back(static_cast<TokenId>((7919 * (i + 1) + 104729 * (variant + 1)) % vocab_size));
  }
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.stopping.max_new_tokens = new_tokens;
  request.stopping.ignore_eos = true;
  return request;
}

// Measures `requests` several times, each time right after the machine, and adds a row. A GPU's
// limits are not measured.
absl::Status AddRow(const Session& session, std::string name,
                    const std::vector<GenerateRequest>& requests,
                    const std::function<double(const Measurement&)>& tokens_per_second,
                    const std::function<Limit(const MachineRates&)>& limit) {
  std::vector<MachineRates> machine;
  std::vector<Measurement> runs;
  for (int i = 0; i < session.options.repeat; ++i) {
    if (!session.options.on_gpu) machine.push_back(MeasureRates(session.options));
    ASSIGN_OR_RETURN(Measurement run, Measure(session.engine, session.rounds, requests));
    runs.push_back(std::move(run));
  }
  Row row = {
      .name = std::move(name), .value = MedianOf(runs, tokens_per_second), .unit = "tokens/s"};
  if (machine.empty()) {
    session.report.rows.push_back(std::move(row));
    return absl::OkStatus();
  }
  MachineRates rates;
  rates.read_gb_s = MedianOf(machine, [](const MachineRates& m) { return m.read_gb_s; });
  rates.dot_gop_s = MedianOf(machine, [](const MachineRates& m) { return m.dot_gop_s; });
  const Limit best = limit(rates);
  row.limit = best.tokens_per_second;
  row.bound = best.bound;
  row.beside = rates;
  session.report.rows.push_back(std::move(row));
  return absl::OkStatus();
}

double DecodeRate(const Measurement& run) { return run.tokens_per_second(); }

}  // namespace

std::vector<int> FittingLengths(const std::vector<int>& lengths, int max_length) {
  std::vector<int> fitting;
  for (const int length : lengths) {
    if (length <= max_length) fitting.push_back(length);
  }
  if (fitting.empty()) fitting.push_back(max_length);
  return fitting;
}

ContextShape ShapeOfContext(int context_tokens, int decode_tokens, int max_context) {
  ContextShape shape;
  shape.new_tokens = std::min(decode_tokens, context_tokens / 2);
  shape.prompt_tokens =
      std::min(context_tokens - shape.new_tokens / 2, max_context - shape.new_tokens);
  shape.mean_tokens = shape.prompt_tokens + shape.new_tokens / 2.0;
  return shape;
}

absl::Status MeasurePrefill(const Session& session) {
  for (const int num_tokens :
       FittingLengths(session.options.prefill_tokens, session.engine.max_context() - 1)) {
    RETURN_IF_ERROR(AddRow(
        session, fmt::format("prefill_{}", num_tokens), {MakeRequest(session, num_tokens, 1, 0)},
        [&](const Measurement& run) { return num_tokens / run.prefill_seconds; },
        [&](const MachineRates& rates) { return session.cost.Prefill(num_tokens, rates); }));
  }
  return absl::OkStatus();
}

absl::Status MeasureDecode(const Session& session) {
  for (const int num_sequences : session.options.batch_sizes) {
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < num_sequences; ++i) {
      requests.push_back(
          MakeRequest(session, kBatchPromptTokens, session.options.decode_tokens, i));
    }
    RETURN_IF_ERROR(AddRow(
        session, fmt::format("decode_{}", num_sequences), requests, DecodeRate,
        [&](const MachineRates& rates) { return session.cost.Decode(num_sequences, 0, rates); }));
  }
  return absl::OkStatus();
}

absl::Status MeasureContext(const Session& session) {
  const int max_context = session.engine.max_context();
  for (const int context : FittingLengths(session.options.contexts, max_context)) {
    const ContextShape shape = ShapeOfContext(context, session.options.decode_tokens, max_context);
    RETURN_IF_ERROR(AddRow(session, fmt::format("decode_ctx_{}", context),
                           {MakeRequest(session, shape.prompt_tokens, shape.new_tokens, 0)},
                           DecodeRate, [&](const MachineRates& rates) {
                             return session.cost.Decode(1, shape.mean_tokens, rates);
                           }));
  }
  return absl::OkStatus();
}

}  // namespace strata::bench
