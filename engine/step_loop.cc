#include "engine/step_loop.h"

#include <algorithm>
#include <utility>

#include "engine/random.h"
#include "engine/status_macros.h"

namespace strata {
namespace {

// When the request ends whatever it has generated: past its deadline, or its time to generate.
std::optional<Instant> ExpiryOf(const RequestState& request) {
  std::optional<Instant> expiry = request.params.deadline;
  if (const auto& limit = request.params.stopping.time_limit) {
    const Instant end = request.submitted + *limit;
    expiry = expiry ? std::min(*expiry, end) : end;
  }
  return expiry;
}

}  // namespace

StepLoop::StepLoop(const Config& config, Model* model, const Tokenizer* tokenizer,
                   const SpeculationPolicy* policy, const CostProfile& costs,
                   EngineObserver* observer, const Clock* clock)
    : config_(config),
      model_(model),
      tokenizer_(tokenizer),
      policy_(policy),
      observer_(observer),
      clock_(clock),
      created_(clock->Now()),
      kv_pool_(model->limits().num_kv_blocks, config.prefix_cache),
      scheduler_(config.scheduler, &kv_pool_),
      executor_(config.round, model, clock),
      drafting_(config.drafting, costs) {
  executor_.set_drafting_policy(&drafting_);
  if (config.learnt_draft_tokens == 0) return;
  const ModelConfig& model_config = model->config();
  draft_vocabulary_.emplace(model_config.vocab_size, config.learnt_draft_tokens,
                            model_config.eos_token_ids);
}

absl::Status StepLoop::SetDraftTokens(std::vector<TokenId> ids) {
  // The old copy of weights goes before the new one comes.
  executor_.set_draft_head(nullptr);
  draft_head_.reset();
  ASSIGN_OR_RETURN(draft_head_, model_->SelectTokens(std::move(ids)));
  executor_.set_draft_head(&*draft_head_);
  return absl::OkStatus();
}

double StepLoop::draft_head_share() const {
  return draft_head_ ? static_cast<double>(draft_head_->num_tokens) / model_->config().vocab_size
                     : 1.0;
}

void StepLoop::LearnDraftTokens() {
  if (!draft_vocabulary_) return;
  std::optional<std::vector<TokenId>> ids = draft_vocabulary_->ChooseIfDue();
  // Without the memory for them drafts are chosen among all tokens, until others are due.
  if (ids) SetDraftTokens(*std::move(ids)).IgnoreError();
}

void StepLoop::Accept(std::shared_ptr<RequestState> request) {
  if (draft_vocabulary_) draft_vocabulary_->Count(request->prompt);
  ActiveRequest& active = active_[request->id];
  active.state = request;
  if (const std::optional<Instant> expiry = ExpiryOf(*request)) {
    expiries_.emplace(*expiry, request->id);
  }
  const Speculation speculation = policy_->Resolve(request->params.speculation);
  request->unfinished_samples = request->params.sampling.num_samples;
  for (int i = 0; i < request->params.sampling.num_samples; ++i) {
    const uint64_t rng_key = Mix64(config_.entropy ^ Mix64(num_sequences_made_++));
    active.samples.push_back(
        std::make_unique<Sequence>(request, i, tokenizer_, config_.max_context, rng_key));
    Sequence* sequence = active.samples.back().get();
    drafting_.Accept(*sequence, speculation);
    if (sequence->num_pending() > 0) {
      scheduler_.Add(sequence);
      continue;
    }
    // A prompt of one token has nothing to score: no round would ever plan it.
    const Instant now = clock_->Now();
    Start(*sequence, now);
    Deliver(sequence, now);
  }
}

void StepLoop::Cancel(RequestId id) {
  const auto it = active_.find(id);
  if (it != active_.end()) Abort(it, absl::CancelledError("cancelled by the caller"));
}

void StepLoop::AbortAll(const absl::Status& reason) {
  while (!active_.empty()) Abort(active_.begin(), reason);
}

void StepLoop::Abort(ActiveRequests::iterator request, const absl::Status& reason) {
  for (const auto& sample : request->second.samples) {
    if (sample) scheduler_.Remove(sample.get());
  }
  const std::shared_ptr<TokenSink> sink = request->second.state->sink;
  request->second.state->ticket.End();
  Forget(request);
  if (observer_ != nullptr) observer_->OnAborted(reason);
  sink->OnDone(reason);
}

void StepLoop::Step() {
  const Instant begin = clock_->Now();
  ExpireRequests();
  drafting_.BeforePlan(scheduler_.running());
  const StepPlan& plan = scheduler_.Plan();
  if (plan.empty()) return;
  drafting_.AfterPlan(plan, draft_head_share());
  // A failing sample takes its request's other samples with it: sequences may be gone by the time
  // that results are delivered.
  planned_.clear();
  const Instant start = clock_->Now();
  for (const PlanEntry& entry : plan.entries) {
    Start(*entry.sequence, start);
    planned_.emplace_back(entry.sequence, entry.sequence->request()->id);
  }
  RoundExecutor::Result result = executor_.Run(plan);
  executor_.Describe(&record_);
  drafting_.AfterRound(result.report);
  result.report.cached_tokens = plan.num_cached_tokens;
  scheduler_.EndRound();
  const Instant now = clock_->Now();
  result.report.overhead_time = delivery_time_ + (now - begin) - result.report.total_time;
  Count(result.report, now);
  for (const RequestId id : result.failed) {
    const auto it = active_.find(id);
    // Another sample of the same request may have ended it already.
    if (it == active_.end()) continue;
    Abort(it, absl::InternalError("the model computed logits that are not finite numbers; its "
                                  "weights may be damaged"));
  }
  for (const auto& [sequence, request_id] : planned_) {
    if (active_.contains(request_id)) Deliver(sequence, now);
  }
  LearnDraftTokens();
  const Instant end = clock_->Now();
  delivery_time_ = end - now;
  Trace(result.report, begin, start, end);
}

void StepLoop::Trace(const RoundReport& report, Instant begin, Instant start, Instant end) {
  const auto nanoseconds = [](Duration time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
  };
  RoundRecord& record = record_;  // its sequences are written down already
  record.start_ns = nanoseconds(begin - created_);
  record.plan_ns = nanoseconds(start - begin);
  record.draft_ns = nanoseconds(report.draft_time);
  record.sweep_ns = nanoseconds(report.sweep_time);
  record.verify_ns = nanoseconds(report.verify_time);
  record.probe_ns = nanoseconds(report.probe_time);
  record.deliver_ns = nanoseconds(end - start - report.total_time);
  record.draft_micro_steps = report.draft_micro_steps;
  record.prefill_rows = report.prefill_rows;
  record.decode_rows = report.decode_rows;
  record.cached_tokens = report.cached_tokens;
  record.drafted_tokens = report.drafted_tokens;
  record.accepted_tokens = report.accepted_tokens;
  record.emitted_tokens = report.emitted_tokens;
  record.preemptions = report.preemptions;
  trace_.Add(record);
}

void StepLoop::ExpireRequests() {
  if (expiries_.empty()) return;
  const Instant now = clock_->Now();
  while (!expiries_.empty() && expiries_.begin()->first <= now) {
    Expire(active_.find(expiries_.begin()->second), now);
  }
}

void StepLoop::Expire(ActiveRequests::iterator request, Instant now) {
  const GenerateRequest& params = request->second.state->params;
  if (params.deadline && now >= *params.deadline) {
    Abort(request, absl::DeadlineExceededError("the request's deadline has passed"));
    return;
  }
  std::vector<Sequence*> out_of_time;
  for (const auto& sample : request->second.samples) {
    if (sample) out_of_time.push_back(sample.get());
  }
  for (Sequence* sequence : out_of_time) {
    Start(*sequence, now);
    sequence->Finish(FinishReason::kTimeLimit);
    Deliver(sequence, now);
  }
}

void StepLoop::Forget(ActiveRequests::iterator request) {
  if (const std::optional<Instant> expiry = ExpiryOf(*request->second.state)) {
    expiries_.erase({*expiry, request->first});
  }
  active_.erase(request);
}

void StepLoop::Start(Sequence& sequence, Instant now) {
  if (sequence.started) return;
  sequence.started = true;
  sequence.first_scheduled = now;
  const RequestState& request = *sequence.request();
  StartedEvent event;
  event.request = request.id;
  event.prompt_tokens = sequence.num_prompt_tokens();
  event.cached_prompt_tokens = sequence.num_computed();
  event.seed = request.params.sampling.seed;
  event.speculation = policy_->Resolve(request.params.speculation);
  request.sink->OnStarted(sequence.sample_index(), event);
  // An echoed prompt is there before anything is computed.
  if (sequence.HasDelta()) {
    request.sink->OnDelta(sequence.sample_index(), sequence.delta());
    sequence.ClearDelta();
  }
}

// Sends what the round has committed, and ends the sample if it is finished.
void StepLoop::Deliver(Sequence* sequence, Instant now) {
  // Scoring is finished when the whole prompt has been seen.
  if (sequence->request()->params.stopping.max_new_tokens == 0 && sequence->num_pending() == 0 &&
      !sequence->finish_reason()) {
    sequence->Finish(FinishReason::kMaxTokens);
  }
  if (sequence->HasDelta()) {
    const Delta& delta = sequence->delta();
    ReportLatency(*sequence, delta, now);
    if (draft_vocabulary_) draft_vocabulary_->Count(delta.token_ids);
    sequence->request()->ticket.CountGenerated(static_cast<int64_t>(delta.token_ids.size()));
    sequence->request()->sink->OnDelta(sequence->sample_index(), delta);
    sequence->ClearDelta();
  }
  if (sequence->finish_reason()) FinishSample(sequence, now);
}

void StepLoop::ReportLatency(Sequence& sequence, const Delta& delta, Instant now) {
  if (delta.token_ids.empty()) return;
  if (observer_ != nullptr) {
    if (!sequence.first_token) {
      observer_->OnFirstToken(now - sequence.request()->submitted);
    } else {
      observer_->OnInterToken(now - sequence.last_token, static_cast<int>(delta.token_ids.size()));
    }
  }
  if (!sequence.first_token) sequence.first_token = now;
  sequence.last_token = now;
}

void StepLoop::FinishSample(Sequence* sequence, Instant now) {
  const std::shared_ptr<RequestState> request = sequence->request();
  const FinishedEvent event = sequence->MakeFinishedEvent(now);
  scheduler_.Remove(sequence);
  request->ticket.EndSample();
  if (observer_ != nullptr) observer_->OnFinished(event);
  request->sink->OnFinished(sequence->sample_index(), event);
  if (--request->unfinished_samples == 0) {
    Forget(active_.find(request->id));
    request->sink->OnDone(absl::OkStatus());
  } else {
    active_.at(request->id).samples[sequence->sample_index()].reset();
  }
}

void StepLoop::Count(const RoundReport& report, Instant now) {
  ++counters_.rounds;
  counters_.row_layers = model_->row_layers();
  counters_.head_rows = model_->head_rows();
  counters_.logits_computed = model_->logits_computed();
  counters_.draft_row_layers += report.draft_row_layers;
  counters_.drafted_tokens += report.drafted_tokens;
  counters_.accepted_tokens += report.accepted_tokens;
  counters_.emitted_tokens += report.emitted_tokens;
  counters_.prefilled_tokens += report.prefill_rows;
  counters_.cached_tokens += report.cached_tokens;
  counters_.preemptions += report.preemptions;
  counters_.probes += report.num_probes;
  emitted_.Add(now, report.emitted_tokens);
  drafted_.Add(now, report.drafted_tokens);
  accepted_.Add(now, report.accepted_tokens);
  if (observer_ != nullptr) observer_->OnRound(report);
}

EngineLoad StepLoop::MakeLoad() {
  const Instant now = clock_->Now();
  EngineLoad load;
  load.running_requests = scheduler_.num_running();
  load.queued_requests = scheduler_.num_waiting();
  load.kv_blocks_total = kv_pool_.num_blocks();
  load.kv_blocks_used = kv_pool_.num_used();
  load.kv_blocks_cached = kv_pool_.num_cached();
  load.exit_cache_rows_used = executor_.exit_rows_used();
  load.tokens_per_second = emitted_.Sum(now) / RateMeter::kWindowSeconds;
  const double drafted = drafted_.Sum(now);
  load.acceptance_rate = drafted > 0 ? accepted_.Sum(now) / drafted : 0;
  return load;
}

}  // namespace strata
