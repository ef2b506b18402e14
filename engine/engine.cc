#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "engine/admission.h"
#include "engine/draft_vocabulary.h"
#include "engine/model/llama_model.h"
#include "engine/model/tp_group.h"
#include "engine/policy/cost_profiler.h"
#include "engine/policy/experience_file.h"
#include "engine/queue_wait.h"
#include "engine/request_validation.h"
#include "engine/speculation_policy.h"
#include "engine/status_macros.h"
#include "engine/step_loop.h"
#include "engine/token_count_file.h"
#include "engine/tokenizer/detokenizer.h"
#include "kernels/cpu/cores.h"

namespace strata {

namespace {

// (Row, exit) pairs that one round may probe.
constexpr int kMaxProbes = 16;
constexpr std::chrono::seconds kTimeBetweenSaves{60};

}  // namespace

absl::Status ValidateOptions(const EngineOptions& options, const ModelConfig& config) {
  const auto invalid = [](std::string message) {
    return absl::InvalidArgumentError(std::move(message));
  };
  if (options.max_sequences < 1) {
    return invalid(fmt::format("max_sequences: {} is not positive", options.max_sequences));
  }
  if (options.max_batch_tokens < options.max_sequences) {
    return invalid(
        fmt::format("max_batch_tokens: {} is less than max_sequences, {}: every running sequence "
                    "needs a row",
                    options.max_batch_tokens, options.max_sequences));
  }
  if (options.max_queue < 0) {
    return invalid(fmt::format("max_queue: {} is negative", options.max_queue));
  }
  if (options.max_queue_time.count() < 0) {
    return invalid(
        fmt::format("max_queue_time: {} ms are negative", options.max_queue_time.count()));
  }
  if (options.max_tokens_per_minute < 0) {
    return invalid(
        fmt::format("max_tokens_per_minute: {} is negative", options.max_tokens_per_minute));
  }
  if (options.max_prefill_chunk < 0) {
    return invalid(fmt::format("max_prefill_chunk: {} is negative", options.max_prefill_chunk));
  }
  if (options.max_context < 0 || options.max_context > config.max_position_embeddings) {
    return invalid(fmt::format("max_context: {} is out of range [0, {}] (the checkpoint's maximum)",
                               options.max_context, config.max_position_embeddings));
  }
  if (options.default_exit_layer < 0 || options.default_exit_layer >= config.num_layers) {
    return invalid(fmt::format("exit layer: {} is out of range [1, {}] for {} layers",
                               options.default_exit_layer, config.num_layers - 1,
                               config.num_layers));
  }
  if (options.default_num_draft_tokens < 0 || options.default_num_draft_tokens > kMaxDraftTokens) {
    return invalid(fmt::format("draft tokens: {} is out of range [0, {}]",
                               options.default_num_draft_tokens, kMaxDraftTokens));
  }
  if (options.max_draft_tokens < 0 || options.max_draft_tokens > kMaxDraftTokens) {
    return invalid(fmt::format("max draft tokens: {} is out of range [0, {}]",
                               options.max_draft_tokens, kMaxDraftTokens));
  }
  if (options.draft_vocabulary_size < 0 || options.draft_vocabulary_size >= config.vocab_size) {
    return invalid(
        fmt::format("draft vocabulary: {} is out of range [0, {}] for a vocabulary of {}",
                    options.draft_vocabulary_size, config.vocab_size - 1, config.vocab_size));
  }
  if (options.draft_distribution_bytes < 0) {
    return invalid(
        fmt::format("draft distribution memory: {} is negative", options.draft_distribution_bytes));
  }
  if (options.draft_vocabulary_size == 0 && !options.draft_token_counts.empty()) {
    return invalid(
        fmt::format("draft token counts: {} has no use without the size of a draft vocabulary",
                    options.draft_token_counts));
  }
  return absl::OkStatus();
}

namespace {

int BlocksFor(int num_positions) {
  return (num_positions + kernels::kKvBlockTokens - 1) / kernels::kKvBlockTokens;
}

absl::StatusOr<int> NumKvBlocks(const EngineOptions& options, int64_t block_bytes,
                                int max_context) {
  int64_t num_blocks = std::min<int64_t>(options.kv_cache_bytes / block_bytes, 1 << 30);
  if (!options.prefix_cache) {
    // No more than all sequences at full length can use.
    num_blocks =
        std::min(num_blocks, int64_t{options.max_sequences} * (BlocksFor(max_context) + 1));
  }
  if (num_blocks < BlocksFor(max_context)) {
    return absl::InvalidArgumentError(
        fmt::format("KV cache: {} bytes hold {} tokens, less than one context of {}; give it {} "
                    "bytes or limit the context",
                    options.kv_cache_bytes, num_blocks * kernels::kKvBlockTokens, max_context,
                    BlocksFor(max_context) * block_bytes));
  }
  return static_cast<int>(num_blocks);
}

// The tokens that drafts are chosen among from the start; empty: all.
absl::StatusOr<std::vector<TokenId>> FirstDraftTokens(const EngineOptions& options,
                                                      const ModelConfig& config) {
  if (options.draft_token_counts.empty()) return std::vector<TokenId>();
  ASSIGN_OR_RETURN(const std::vector<double> counts,
                   ReadTokenCounts(options.draft_token_counts, config.vocab_size));
  return MostFrequentTokens(counts, config.eos_token_ids, options.draft_vocabulary_size);
}

uint64_t RandomSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) ^ device();
}

}  // namespace

class Engine::Impl {
 public:
  Impl(std::unique_ptr<Checkpoint> checkpoint, std::unique_ptr<Tokenizer> tokenizer,
       std::vector<kernels::RankDevice> ranks, const EngineOptions& options,
       EngineObserver* observer, const Clock* clock)
      : checkpoint_(std::move(checkpoint)),
        tokenizer_(std::move(tokenizer)),
        num_ranks_(static_cast<int>(ranks.size())),
        backend_description_(ranks[0].backend->Description()),
        options_(options),
        max_context_(options.max_context > 0 ? options.max_context
                                             : checkpoint_->config().max_position_embeddings),
        policy_(checkpoint_->config().num_layers,
                {options.default_exit_layer, options.default_num_draft_tokens,
                 options.max_draft_tokens}),
        admission_({options.max_sequences, options.max_tokens_per_minute}),
        observer_(observer),
        clock_(clock != nullptr ? clock : &steady_clock_),
        ranks_(std::move(ranks)) {}

  ~Impl() { Stop(absl::UnavailableError("the server is shutting down")); }

  absl::Status Start();
  absl::StatusOr<RequestId> Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink);
  void Cancel(RequestId id);
  void StopAdmitting();
  bool WaitUntilIdle(Instant deadline);
  void Stop(absl::Status reason);
  absl::Status failure() const;

  EngineLoad GetLoad() const;
  EngineCounters GetCounters() const;
  const StepLoop& loop() const { return *loop_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const std::string& backend_description() const { return backend_description_; }
  int num_ranks() const { return num_ranks_; }
  const SpeculationPolicy& policy() const { return policy_; }
  std::vector<std::string> TakeWarnings();
  int max_context() const { return max_context_; }

 private:
  // What other threads ask of the step thread.
  struct Inbox {
    std::vector<std::shared_ptr<RequestState>> submitted;
    std::vector<RequestId> cancelled;
    bool empty() const { return submitted.empty() && cancelled.empty(); }
  };

  absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ModelLimits& limits);
  absl::StatusOr<std::vector<TokenId>> EncodePrompt(const GenerateRequest& request) const;
  int MaxUnfinished() const { return options_.max_sequences + options_.max_queue; }
  // REQUIRES: mu_ is held.
  absl::Status CheckQueue(int num_samples) const;
  void RunStepThread();
  // Waits until there is something to do; nullopt: stop.
  std::optional<Inbox> WaitForWork();
  void Publish();
  void Fail(const std::string& what);
  absl::StatusOr<CostProfile> Profile();
  absl::Status RestoreExperience();
  void SaveExperience();
  // By which experience of one model is told from that of another.
  std::string ModelDescription() const;

  // Constant after construction.
  const std::shared_ptr<const Checkpoint> checkpoint_;
  const std::unique_ptr<Tokenizer> tokenizer_;
  const int num_ranks_;
  const std::string backend_description_;  // of the first rank
  const EngineOptions options_;
  const int max_context_;
  const SpeculationPolicy policy_;
  Admission admission_;  // thread-safe
  EngineObserver* const observer_;
  const SteadyClock steady_clock_;
  const Clock* const clock_;

  // Step thread only, after Start.
  std::vector<kernels::RankDevice> ranks_;  // empty: the model has them
  std::unique_ptr<Model> model_;
  std::unique_ptr<StepLoop> loop_;
  Instant next_save_{};

  mutable std::mutex mu_;
  std::condition_variable work_;  // inbox_ or stopping_ changed
  std::condition_variable idle_;  // num_unfinished_ fell
  // Guarded by mu_.
  Inbox inbox_;
  absl::Status admitting_ = absl::OkStatus();  // else why new requests are refused
  bool stopping_ = false;
  absl::Status stop_reason_;
  absl::Status failure_;
  RequestId next_id_ = 1;
  int num_unfinished_ = 0;  // samples submitted and not ended
  QueueWait queue_wait_;
  EngineLoad load_;
  EngineCounters counters_;
  int64_t steps_begun_ = 0;
  int64_t steps_ended_ = 0;
  std::vector<std::string> warnings_;

  std::mutex join_mu_;
  std::thread step_thread_;  // guarded by join_mu_ after Start
};

absl::Status Engine::Impl::Start() {
  const ModelConfig& config = checkpoint_->config();
  RETURN_IF_ERROR(ValidateOptions(options_, config));
  ASSIGN_OR_RETURN(const int64_t block_bytes, KvBlockBytesOfRanks(config, ranks_));
  ASSIGN_OR_RETURN(const int num_blocks, NumKvBlocks(options_, block_bytes, max_context_));
  ASSIGN_OR_RETURN(std::vector<TokenId> draft_tokens, FirstDraftTokens(options_, config));
  ModelLimits limits;
  limits.max_rows = options_.max_batch_tokens;
  limits.max_exit_rows = options_.max_batch_tokens + kMaxProbes;
  limits.max_logit_rows = kMaxLogitRows;
  limits.max_context = max_context_;
  limits.num_kv_blocks = num_blocks;
  limits.proposal_bytes = options_.draft_distribution_bytes;
  // One rank computes on this thread while it loads, then on the step thread, which inherits its
  // cores; several have threads of their own.
  const kernels::BoundScope bound(num_ranks_ == 1 ? ranks_[0].cores : std::vector<int>{});
  ASSIGN_OR_RETURN(model_, LoadModel(limits));

  StepLoop::Config loop;
  loop.scheduler.max_batch_tokens = options_.max_batch_tokens;
  loop.scheduler.max_sequences = options_.max_sequences;
  loop.scheduler.max_prefill_chunk =
      options_.max_prefill_chunk > 0 ? options_.max_prefill_chunk : options_.max_batch_tokens;
  loop.prefix_cache = options_.prefix_cache;
  loop.max_context = max_context_;
  loop.entropy = RandomSeed();
  loop.round = {options_.verification, options_.draft_distribution_bytes};
  loop.learnt_draft_tokens = draft_tokens.empty() ? options_.draft_vocabulary_size : 0;
  loop.drafting.num_layers = config.num_layers;
  loop.drafting.exit_layers = policy_.exit_layers();
  loop.drafting.most_drafts = options_.max_draft_tokens;
  loop.drafting.latency_ceiling_seconds =
      std::chrono::duration<double>(options_.max_inter_token_latency).count();
  loop.drafting.most_probes = kMaxProbes;
  ASSIGN_OR_RETURN(const CostProfile costs, Profile());
  loop_ = std::make_unique<StepLoop>(loop, model_.get(), tokenizer_.get(), &policy_, costs,
                                     observer_, clock_);
  if (!draft_tokens.empty()) RETURN_IF_ERROR(loop_->SetDraftTokens(std::move(draft_tokens)));
  RETURN_IF_ERROR(RestoreExperience());
  load_ = loop_->MakeLoad();
  step_thread_ = std::thread([this] { RunStepThread(); });
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> Engine::Impl::LoadModel(const ModelLimits& limits) {
  if (num_ranks_ == 1) return LlamaModel::Create(*checkpoint_, ranks_[0].backend.get(), limits);
  return TpGroup::Create(checkpoint_, std::move(ranks_), limits, options_.rank_timeout);
}

absl::StatusOr<CostProfile> Engine::Impl::Profile() {
  try {
    return ProfileCosts(*model_, *clock_, options_.cost_profile_time);
  } catch (const kernels::DeviceError& error) {
    return absl::InternalError(fmt::format("measuring what the model costs: {}", error.what()));
  }
}

std::string Engine::Impl::ModelDescription() const {
  const ModelConfig& config = checkpoint_->config();
  return fmt::format("{} ({} layers of {}, vocabulary of {})", config.name, config.num_layers,
                     config.hidden_size, config.vocab_size);
}

// A file that cannot be used costs what was learnt; one that could not be written, the start.
absl::Status Engine::Impl::RestoreExperience() {
  if (options_.policy_state.empty()) return absl::OkStatus();
  DraftController& controller = loop_->draft_controller();
  const auto experience =
      ReadExperience(options_.policy_state, ModelDescription(), checkpoint_->config().num_layers);
  if (experience.ok()) {
    controller.Restore(*experience);
  } else if (!absl::IsNotFound(experience.status())) {
    warnings_.push_back(fmt::format("policy state: {}; speculation begins to learn anew",
                                    std::string(experience.status().message())));
  }
  next_save_ = clock_->Now() + kTimeBetweenSaves;
  return WriteExperience(options_.policy_state, controller.experience(), ModelDescription());
}

void Engine::Impl::SaveExperience() {
  next_save_ = clock_->Now() + kTimeBetweenSaves;
  const absl::Status written = WriteExperience(
      options_.policy_state, loop_->draft_controller().experience(), ModelDescription());
  if (written.ok()) return;
  std::lock_guard lock(mu_);
  warnings_.push_back("policy state: " + std::string(written.message()));
}

std::vector<std::string> Engine::Impl::TakeWarnings() {
  std::lock_guard lock(mu_);
  return std::exchange(warnings_, {});
}

absl::StatusOr<std::vector<TokenId>> Engine::Impl::EncodePrompt(
    const GenerateRequest& request) const {
  const auto* text = std::get_if<std::string>(&request.prompt);
  if (text == nullptr) return std::get<std::vector<TokenId>>(request.prompt);
  if (!IsValidUtf8(*text)) return absl::InvalidArgumentError("prompt: is not valid UTF-8");
  // No token stands for more text than this; refusing early spares tokenizing megabytes.
  constexpr size_t kMaxBytesPerToken = 256;
  if (text->size() > kMaxBytesPerToken * static_cast<size_t>(max_context_)) {
    return absl::OutOfRangeError(fmt::format("prompt: {} bytes do not fit a context of {} tokens",
                                             text->size(), max_context_));
  }
  return tokenizer_->Encode(*text, /*add_special_tokens=*/true);
}

absl::StatusOr<RequestId> Engine::Impl::Submit(GenerateRequest request,
                                               std::shared_ptr<TokenSink> sink) {
  const ModelConfig& config = checkpoint_->config();
  RETURN_IF_ERROR(ValidateRequest(request, config));
  auto state = std::make_shared<RequestState>();
  ASSIGN_OR_RETURN(state->prompt, EncodePrompt(request));
  RETURN_IF_ERROR(ValidatePrompt(state->prompt, request, config, max_context_));
  state->params = std::move(request);
  state->eos_token_ids = config.eos_token_ids;
  state->sink = std::move(sink);
  state->submitted = clock_->Now();

  const int num_samples = state->params.sampling.num_samples;
  if (num_samples > MaxUnfinished()) {
    return absl::InvalidArgumentError(
        fmt::format("sampling.num_samples: {} is more than the {} that this engine holds at once",
                    num_samples, MaxUnfinished()));
  }
  std::lock_guard lock(mu_);
  RETURN_IF_ERROR(admitting_);
  RETURN_IF_ERROR(CheckQueue(num_samples));
  ASSIGN_OR_RETURN(state->ticket,
                   admission_.Admit(state->params.tenant, num_samples,
                                    static_cast<int>(state->prompt.size()), state->submitted));
  num_unfinished_ += num_samples;
  state->id = next_id_++;
  inbox_.submitted.push_back(state);
  work_.notify_one();
  return state->id;
}

absl::Status Engine::Impl::CheckQueue(int num_samples) const {
  if (num_unfinished_ + num_samples > MaxUnfinished()) {
    return absl::ResourceExhaustedError(
        fmt::format("the queue is full: {} requests are running or waiting", num_unfinished_));
  }
  if (options_.max_queue_time.count() == 0) return absl::OkStatus();
  // Without a queue, what was submitted since the last step starts with the next one.
  const int ahead = load_.queued_requests > 0 ? num_unfinished_ - load_.running_requests
                                              : num_unfinished_ - options_.max_sequences;
  const std::optional<Duration> wait = queue_wait_.For(ahead + num_samples);
  if (!wait || *wait <= options_.max_queue_time) return absl::OkStatus();
  const double seconds = std::chrono::duration<double>(*wait).count();
  return absl::ResourceExhaustedError(
      fmt::format("the queue is too long: about {:.1f} s to wait, where {:.1f} s are allowed",
                  seconds, std::chrono::duration<double>(options_.max_queue_time).count()));
}

void Engine::Impl::Cancel(RequestId id) {
  std::lock_guard lock(mu_);
  inbox_.cancelled.push_back(id);
  work_.notify_one();
}

void Engine::Impl::StopAdmitting() {
  std::lock_guard lock(mu_);
  if (admitting_.ok()) admitting_ = absl::UnavailableError("the server is shutting down");
}

bool Engine::Impl::WaitUntilIdle(Instant deadline) {
  std::unique_lock lock(mu_);
  return idle_.wait_until(lock, deadline, [this] { return num_unfinished_ == 0; });
}

void Engine::Impl::Stop(absl::Status reason) {
  {
    std::lock_guard lock(mu_);
    if (!stopping_) {
      stopping_ = true;
      stop_reason_ = reason;
      if (admitting_.ok()) admitting_ = std::move(reason);
    }
    work_.notify_one();
  }
  std::lock_guard join_lock(join_mu_);
  if (step_thread_.joinable()) step_thread_.join();
}

std::optional<Engine::Impl::Inbox> Engine::Impl::WaitForWork() {
  std::unique_lock lock(mu_);
  if (loop_->num_unfinished() == 0) {
    work_.wait(lock, [this] { return stopping_ || !inbox_.empty(); });
  }
  if (stopping_) return std::nullopt;
  ++steps_begun_;
  return std::exchange(inbox_, {});
}

void Engine::Impl::RunStepThread() {
  try {
    while (std::optional<Inbox> inbox = WaitForWork()) {
      for (auto& request : inbox->submitted) loop_->Accept(std::move(request));
      for (const RequestId id : inbox->cancelled) loop_->Cancel(id);
      loop_->Step();
      Publish();
      if (!options_.policy_state.empty() && clock_->Now() >= next_save_) SaveExperience();
    }
  } catch (const std::exception& error) {
    // A lost device or no memory: nothing can be computed any more.
    Fail(error.what());
  }
  // What was submitted and not yet taken in ends like the rest.
  absl::Status reason;
  std::vector<std::shared_ptr<RequestState>> submitted;
  {
    std::lock_guard lock(mu_);
    submitted = std::exchange(inbox_, {}).submitted;
    reason = stop_reason_;
  }
  for (auto& request : submitted) loop_->Accept(std::move(request));
  loop_->AbortAll(reason);
  Publish();
  if (!options_.policy_state.empty()) SaveExperience();
}

void Engine::Impl::Fail(const std::string& what) {
  std::lock_guard lock(mu_);
  stopping_ = true;
  failure_ = absl::InternalError(fmt::format("the engine has failed: {}", what));
  stop_reason_ = failure_;
  admitting_ = absl::UnavailableError(stop_reason_.message());
}

absl::Status Engine::Impl::failure() const {
  std::lock_guard lock(mu_);
  return failure_;
}

void Engine::Impl::Publish() {
  EngineLoad load = loop_->MakeLoad();
  std::lock_guard lock(mu_);
  load_ = load;
  counters_ = loop_->counters();
  steps_ended_ = steps_begun_;
  int num_unfinished = loop_->num_unfinished();
  for (const auto& request : inbox_.submitted) {
    num_unfinished += request->params.sampling.num_samples;
  }
  queue_wait_.Note(clock_->Now(), num_unfinished_ - num_unfinished, load.queued_requests);
  num_unfinished_ = num_unfinished;
  idle_.notify_all();
}

EngineLoad Engine::Impl::GetLoad() const {
  std::lock_guard lock(mu_);
  EngineLoad load = load_;
  load.queued_requests = std::max(0, num_unfinished_ - load.running_requests);
  return load;
}

EngineCounters Engine::Impl::GetCounters() const {
  std::lock_guard lock(mu_);
  EngineCounters counters = counters_;
  counters.steps_begun = steps_begun_;
  counters.steps_ended = steps_ended_;
  return counters;
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(std::unique_ptr<Checkpoint> checkpoint,
                                                       std::unique_ptr<Tokenizer> tokenizer,
                                                       std::vector<kernels::RankDevice> ranks,
                                                       const EngineOptions& options,
                                                       EngineObserver* observer,
                                                       const Clock* clock) {
  auto impl = std::make_unique<Impl>(std::move(checkpoint), std::move(tokenizer), std::move(ranks),
                                     options, observer, clock);
  RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(std::unique_ptr<Checkpoint> checkpoint,
                                                       std::unique_ptr<Tokenizer> tokenizer,
                                                       std::unique_ptr<kernels::Backend> backend,
                                                       const EngineOptions& options,
                                                       EngineObserver* observer,
                                                       const Clock* clock) {
  std::vector<kernels::RankDevice> ranks(1);
  ranks[0].backend = std::move(backend);
  ranks[0].communicator = std::make_unique<kernels::LocalCommunicator>();
  return Create(std::move(checkpoint), std::move(tokenizer), std::move(ranks), options, observer,
                clock);
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

absl::StatusOr<RequestId> Engine::Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) {
  return impl_->Submit(std::move(request), std::move(sink));
}
void Engine::Cancel(RequestId id) { impl_->Cancel(id); }
void Engine::StopAdmitting() { impl_->StopAdmitting(); }
bool Engine::WaitUntilIdle(Instant deadline) { return impl_->WaitUntilIdle(deadline); }
void Engine::Stop(absl::Status reason) { impl_->Stop(std::move(reason)); }
EngineLoad Engine::GetLoad() const { return impl_->GetLoad(); }
EngineCounters Engine::GetCounters() const { return impl_->GetCounters(); }
std::vector<RoundRecord> Engine::GetTrace(size_t max_rounds) const {
  return impl_->loop().trace().Last(max_rounds);
}
Instant Engine::trace_begin() const { return impl_->loop().created(); }
const Checkpoint& Engine::checkpoint() const { return impl_->checkpoint(); }
const Tokenizer& Engine::tokenizer() const { return impl_->tokenizer(); }
int Engine::max_context() const { return impl_->max_context(); }
std::vector<std::string> Engine::TakeWarnings() { return impl_->TakeWarnings(); }
Speculation Engine::default_fixed_speculation() const { return impl_->policy().default_fixed(); }
absl::Status Engine::failure() const { return impl_->failure(); }
std::string Engine::backend_description() const {
  const int ranks = impl_->num_ranks();
  const std::string& of_one = impl_->backend_description();
  return ranks == 1 ? of_one : fmt::format("{} ranks of {}", ranks, of_one);
}
int Engine::num_ranks() const { return impl_->num_ranks(); }

}  // namespace strata
