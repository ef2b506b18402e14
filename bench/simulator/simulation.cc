#include "bench/simulator/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "bench/simulator/silent_tokenizer.h"
#include "engine/policy/cost_profiler.h"
#include "engine/status_macros.h"

namespace strata::sim {
namespace {

using kernels::kKvBlockTokens;

constexpr int kMostProbes = 16;  // as the engine's

int RanksOf(const SimulationOptions& options) {
  return options.tensor_parallel > 0 ? options.tensor_parallel : options.hardware.num_devices;
}

absl::Status Validate(const SimulationOptions& options) {
  if (RanksOf(options) > options.hardware.num_devices) {
    return absl::InvalidArgumentError(
        fmt::format("{} has no {} devices", options.hardware.name, options.tensor_parallel));
  }
  const Speculation& speculation = options.speculation;
  if (speculation.mode == Speculation::Mode::kFixed &&
      (speculation.exit_layer < 1 || speculation.exit_layer >= options.model.num_layers)) {
    return absl::InvalidArgumentError(fmt::format("exit layer {} is not among the {} layers",
                                                  speculation.exit_layer,
                                                  options.model.num_layers));
  }
  if (options.scheduler.max_sequences > options.scheduler.max_batch_tokens) {
    return absl::InvalidArgumentError("more sequences than rows of a batch");
  }
  return absl::OkStatus();
}

int NumTenants(const Trace& trace) {
  int most = 0;
  for (const TraceRequest& request : trace) most = std::max(most, request.tenant);
  return most + 1;
}

ModelLimits LimitsFor(const SimulationOptions& options, const Roofline& roofline, int max_context) {
  int64_t tokens = options.kv_tokens;
  if (tokens == 0) tokens = std::min(roofline.KvTokensThatFit(), kMaxKvTokens);
  ModelLimits limits;
  limits.max_rows = options.scheduler.max_batch_tokens;
  limits.max_exit_rows = options.scheduler.max_batch_tokens + kMostProbes;
  limits.max_logit_rows = options.scheduler.max_batch_tokens;
  limits.max_context = max_context;
  limits.num_kv_blocks = static_cast<int>(tokens / kKvBlockTokens);
  return limits;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Simulation>> Simulation::Create(const SimulationOptions& options,
                                                               const Trace& trace) {
  RETURN_IF_ERROR(Validate(options));
  ASSIGN_OR_RETURN(
      TokenProcess process,
      TokenProcess::Create(options.acceptance, options.model.num_layers, options.seed));
  std::unique_ptr<Simulation> simulation(
      new Simulation(options, trace, std::move(process), NumTenants(trace)));
  RETURN_IF_ERROR(simulation->CheckFits());
  return simulation;
}

Simulation::Simulation(const SimulationOptions& options, const Trace& trace, TokenProcess process,
                       int num_tenants)
    : options_(options),
      trace_(trace),
      roofline_(options.model, options.hardware, options.weights, RanksOf(options)),
      process_(std::move(process)),
      max_context_(options.model.max_position_embeddings),
      recorder_(&process_, &clock_, num_tenants, options.interval_s),
      model_(std::make_unique<SimulatedModel>(LimitsFor(options, roofline_, max_context_),
                                              &roofline_, &process_, &clock_, options.time_noise,
                                              options.seed)),
      tokenizer_(std::make_unique<SilentTokenizer>()),
      policy_(std::make_unique<SpeculationPolicy>(options.model.num_layers,
                                                  SpeculationPolicy::Options{})) {
  const EngineOptions defaults;
  StepLoop::Config config;
  config.scheduler = options.scheduler;
  config.max_context = max_context_;
  config.prefix_cache = options.prefix_cache;
  config.entropy = options.seed;
  config.drafting.num_layers = options.model.num_layers;
  config.drafting.exit_layers = policy_->exit_layers();
  config.drafting.most_drafts = defaults.max_draft_tokens;
  config.drafting.latency_ceiling_seconds = options.latency_ceiling_s;
  config.drafting.most_probes = kMostProbes;
  const CostProfile costs = ProfileCosts(*model_, clock_, defaults.cost_profile_time);
  clock_.Restart();
  loop_ = std::make_unique<StepLoop>(config, model_.get(), tokenizer_.get(), policy_.get(), costs,
                                     &recorder_, &clock_);
}

// As Engine::Submit refuses them.
absl::Status Simulation::CheckFits() const {
  const int64_t room = std::min<int64_t>(max_context_, int64_t{kv_blocks()} * kKvBlockTokens);
  for (size_t i = 0; i < trace_.size(); ++i) {
    const int tokens = trace_[i].prompt_tokens + trace_[i].output_tokens;
    if (tokens <= room) continue;
    return absl::InvalidArgumentError(fmt::format(
        "request {} of the trace has {} tokens; context and KV pool hold {}", i, tokens, room));
  }
  return absl::OkStatus();
}

absl::Status Simulation::Run() {
  while (true) {
    SubmitDue();
    if (loop_->num_unfinished() == 0) {
      if (next_ == trace_.size()) break;
      clock_.AdvanceTo(Instant(ToDuration(trace_[next_].arrival_s)));
      continue;
    }
    RETURN_IF_ERROR(StepOrWait());
  }
  return CheckInvariants();
}

void Simulation::SubmitDue() {
  if (options_.concurrency > 0) {
    while (next_ < trace_.size() && loop_->num_unfinished() < options_.concurrency) {
      SubmitNext(clock_.Now());
    }
    return;
  }
  while (next_ < trace_.size()) {
    const Instant arrival(ToDuration(trace_[next_].arrival_s));
    if (arrival > clock_.Now()) return;
    SubmitNext(arrival);
  }
}

void Simulation::SubmitNext(Instant submitted) {
  const TraceRequest& request = trace_[next_];
  const double submitted_s = ToSeconds(submitted.time_since_epoch());
  if (loop_->num_unfinished() >= options_.scheduler.max_sequences + options_.max_queue) {
    recorder_.Refuse(request, submitted_s);
    ++next_;
    return;
  }
  auto state = std::make_shared<RequestState>();
  state->id = next_ + 1;
  state->prompt = MakePrompt(request, static_cast<int>(next_), options_.seed);
  state->params.sampling.temperature = 0;
  state->params.stopping.max_new_tokens = request.output_tokens;
  state->params.stopping.ignore_eos = true;
  state->params.speculation = options_.speculation;
  if (options_.tells_tenants_apart) {
    state->params.tenant.name = fmt::format("tenant-{}", request.tenant);
  }
  state->sink = recorder_.Submit(request, state->prompt, submitted_s);
  state->submitted = submitted;
  loop_->Accept(std::move(state));
  ++next_;
}

absl::Status Simulation::StepOrWait() {
  const Instant before = clock_.Now();
  loop_->Step();
  const EngineLoad load = loop_->MakeLoad();
  recorder_.NoteLoad(load.running_requests, load.queued_requests, load.kv_blocks_used);
  if (clock_.Now() > before) return absl::OkStatus();
  return absl::InternalError(fmt::format("the scheduler plans nothing for {} unfinished requests",
                                         loop_->num_unfinished()));
}

absl::Status Simulation::CheckInvariants() {
  const EngineLoad load = loop_->MakeLoad();
  if (load.kv_blocks_used != 0 || load.exit_cache_rows_used != 0) {
    return absl::InternalError(fmt::format("{} KV blocks and {} exit-cache rows were kept",
                                           load.kv_blocks_used, load.exit_cache_rows_used));
  }
  if (recorder_.wrong_tokens() != 0 || model_->errors() != 0) {
    return absl::InternalError(
        fmt::format("{} wrong tokens, {} reads of states that were not computed",
                    recorder_.wrong_tokens(), model_->errors()));
  }
  return absl::OkStatus();
}

}  // namespace strata::sim
