#include "bench/overhead.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "bench/null_backend.h"
#include "bench/workload.h"
#include "engine/policy/cost_profiler.h"
#include "engine/sampler.h"
#include "engine/status_macros.h"

namespace strata::bench {
namespace {

constexpr int kPromptTokens = 64;
constexpr int kWarmUpRounds = 16;
constexpr int kRoundsAtOnce = 20;
constexpr int kMeasurements = 9;
// What a round with 256 rows may take.
constexpr double kBudgetMicroseconds = 150;

class NullSink final : public TokenSink {
 public:
  void OnStarted(int, const StartedEvent&) override {}
  void OnDelta(int, const Delta&) override {}
  void OnDraft(int, DraftEvent) override {}
  void OnPromptLogprobs(int, std::vector<TokenLogprobs>) override {}
  void OnFinished(int, FinishedEvent) override {}
  void OnDone(absl::Status) override {}
};

template <typename Function>
double Microseconds(Function function) {
  const Instant start = std::chrono::steady_clock::now();
  for (int i = 0; i < kRoundsAtOnce; ++i) function();
  return Seconds(std::chrono::steady_clock::now() - start) * 1e6 / kRoundsAtOnce;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// What a round of so many sequences takes more where each is to be decided on.
absl::StatusOr<Row> MeasureAuto(const Options& options, int num_sequences) {
  IdleBackendLoop::Shape shape;
  shape.num_sequences = num_sequences;
  shape.sampling.temperature = 0;
  ASSIGN_OR_RETURN(const auto off, IdleBackendLoop::Create(options.model, shape));
  shape.is_auto = true;
  ASSIGN_OR_RETURN(const auto automatic, IdleBackendLoop::Create(options.model, shape));
  std::vector<double> more;
  for (int i = 0; i < kMeasurements; ++i) {
    const double without = Microseconds([&] { off->Step(); });
    more.push_back(Microseconds([&] { automatic->Step(); }) - without);
  }
  return Row{.name = fmt::format("overhead_auto_{}x1", num_sequences),
             .value = Median(more),
             .unit = "us"};
}

}  // namespace

absl::StatusOr<std::unique_ptr<IdleBackendLoop>> IdleBackendLoop::Create(const std::string& folder,
                                                                         const Shape& shape) {
  std::unique_ptr<IdleBackendLoop> result(new IdleBackendLoop());
  result->shape_ = shape;
  ASSIGN_OR_RETURN(result->checkpoint_, Checkpoint::Open(folder));
  const ModelConfig& config = result->checkpoint_->config();
  ASSIGN_OR_RETURN(result->tokenizer_, Tokenizer::Open(folder, config.vocab_size));
  result->backend_ = CreateNullBackend();
  ModelLimits limits;
  limits.max_rows = std::max(result->rows_per_round(), kPromptTokens);
  limits.max_exit_rows = limits.max_rows;
  limits.max_context = config.max_position_embeddings;
  limits.num_kv_blocks = shape.num_sequences * (limits.max_context / kernels::kKvBlockTokens + 1);
  ASSIGN_OR_RETURN(result->model_,
                   LlamaModel::Create(*result->checkpoint_, result->backend_.get(), limits));
  StepLoop::Config loop;
  loop.scheduler.max_batch_tokens = limits.max_rows;
  loop.scheduler.max_sequences = shape.num_sequences;
  loop.scheduler.max_prefill_chunk = limits.max_rows;
  loop.max_context = limits.max_context;
  result->policy_ =
      std::make_unique<SpeculationPolicy>(config.num_layers, SpeculationPolicy::Options());
  loop.drafting.num_layers = config.num_layers;
  loop.drafting.exit_layers = result->policy_->exit_layers();
  // No round can be that short.
  if (shape.is_auto && shape.num_draft_tokens == 0) loop.drafting.latency_ceiling_seconds = 1e-9;
  const CostProfile costs =
      ProfileCosts(*result->model_, result->clock_, std::chrono::milliseconds(10));
  result->loop_ =
      std::make_unique<StepLoop>(loop, result->model_.get(), result->tokenizer_.get(),
                                 result->policy_.get(), costs, nullptr, &result->clock_);
  result->AcceptRequests();
  return result;
}

void IdleBackendLoop::AcceptRequests() {
  const auto sink = std::make_shared<NullSink>();
  for (int i = 0; i < shape_.num_sequences; ++i) {
    auto request = std::make_shared<RequestState>();
    request->id = static_cast<uint64_t>(i) + 1;
    // No two begin alike: none is spared work by the prefix cache.
    request->prompt.assign(kPromptTokens, 3 + i);
    request->params.sampling = shape_.sampling;
    request->params.stopping.max_new_tokens = checkpoint_->config().max_position_embeddings;
    request->params.stopping.ignore_eos = true;
    request->params.speculation = {
        shape_.is_auto ? Speculation::Mode::kAuto : Speculation::Mode::kFixed,
        1,
        shape_.num_draft_tokens,
        {}};
    request->sink = sink;
    loop_->Accept(std::move(request));
  }
  // All prompts, and then some rounds of all sequences.
  for (int64_t before = -1; tokens_emitted() - before < shape_.num_sequences;) {
    before = tokens_emitted();
    loop_->Step();
  }
  for (int i = 0; i < kWarmUpRounds; ++i) loop_->Step();
}

size_t IdleBackendLoop::ScanLogits() {
  const Head& head = model_->head();
  const int at_once = model_->limits().max_logit_rows;
  // Drafts and then targets.
  int left = 2 * rows_per_round() - shape_.num_sequences;
  std::vector<int32_t> rows(at_once, 0);
  size_t sum = 0;
  for (; left > 0; left -= at_once) {
    const int count = std::min(left, at_once);
    const float* values = model_->Logits(std::span(rows).first(count), head);
    for (int i = 0; i < count; ++i, values += head.num_tokens) {
      sum += Logits({values, static_cast<size_t>(head.num_tokens)}).scan.best;
    }
  }
  return sum;
}

absl::Status MeasureOverhead(const Options& options, Report& report) {
  for (const auto& [num_sequences, num_drafts] : {std::pair(256, 0), std::pair(64, 3)}) {
    IdleBackendLoop::Shape shape;
    shape.num_sequences = num_sequences;
    shape.num_draft_tokens = num_drafts;
    shape.sampling.temperature = 0;
    ASSIGN_OR_RETURN(const auto loop, IdleBackendLoop::Create(options.model, shape));
    std::vector<double> rounds, scans;
    size_t sum = 0;
    for (int i = 0; i < kMeasurements; ++i) {
      rounds.push_back(Microseconds([&] { loop->Step(); }));
      scans.push_back(Microseconds([&] { sum += loop->ScanLogits(); }));
    }
    if (sum == 0) return absl::InternalError("the logits are all the same");
    const std::string suffix = fmt::format("{}x{}", num_sequences, 1 + num_drafts);
    report.rows.push_back({.name = "overhead_" + suffix,
                           .value = Median(rounds) - Median(scans),
                           .unit = "us",
                           .limit = kBudgetMicroseconds});
    report.rows.push_back({.name = "logits_" + suffix, .value = Median(scans), .unit = "us"});
  }
  for (const int num_sequences : {1, 4, 16, 256}) {
    ASSIGN_OR_RETURN(Row row, MeasureAuto(options, num_sequences));
    report.rows.push_back(std::move(row));
  }
  return absl::OkStatus();
}

}  // namespace strata::bench
