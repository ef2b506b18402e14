#include "bench/simulator/recorder.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "engine/fair_queue.h"

namespace strata::sim {
namespace {

void AddTo(Interval& sum, const Interval& other) {
  sum.rounds += other.rounds;
  sum.busy_s += other.busy_s;
  sum.emitted_tokens += other.emitted_tokens;
  sum.prefilled_tokens += other.prefilled_tokens;
  sum.drafted_tokens += other.drafted_tokens;
  sum.accepted_tokens += other.accepted_tokens;
  sum.draft_row_layers += other.draft_row_layers;
  sum.decoding_rows += other.decoding_rows;
  sum.preemptions += other.preemptions;
  sum.most_running = std::max(sum.most_running, other.most_running);
  sum.most_waiting = std::max(sum.most_waiting, other.most_waiting);
  sum.most_kv_blocks = std::max(sum.most_kv_blocks, other.most_kv_blocks);
  sum.ttft.Merge(other.ttft);
  sum.itl.Merge(other.itl);
  for (size_t i = 0; i < sum.tenant_tokens.size(); ++i) {
    sum.tenant_tokens[i] += other.tenant_tokens[i];
  }
}

double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

}  // namespace

double Interval::MeanDrafts() const {
  return Ratio(static_cast<double>(drafted_tokens), static_cast<double>(decoding_rows));
}
double Interval::MeanExit() const {
  return Ratio(static_cast<double>(draft_row_layers), static_cast<double>(drafted_tokens));
}
double Interval::Acceptance() const {
  return Ratio(static_cast<double>(accepted_tokens), static_cast<double>(drafted_tokens));
}

class Recorder::Sink final : public TokenSink {
 public:
  Sink(Recorder* recorder, int index, TextState state)
      : recorder_(recorder), index_(index), state_(state) {}

  void OnStarted(int, const StartedEvent& event) override {
    --recorder_->num_waiting_[record().trace.tenant];
    record().started_s = recorder_->clock_->NowSeconds();
    record().cached_prompt_tokens = event.cached_prompt_tokens;
  }

  void OnDelta(int, const Delta& delta) override {
    if (delta.token_ids.empty()) return;
    for (const TokenId token : delta.token_ids) {
      if (token != recorder_->process_->NextToken(state_)) ++recorder_->wrong_tokens_;
      state_ = recorder_->process_->Append(state_, token);
    }
    const double now = recorder_->clock_->NowSeconds();
    Interval& interval = recorder_->Now();
    ServiceGap& services = recorder_->service_gap_;
    if (record().first_token_s < 0) {
      services.Serve(record().trace.tenant, kPromptTokenCost * (record().trace.prompt_tokens -
                                                                record().cached_prompt_tokens));
      record().first_token_s = now;
      interval.ttft.Add(now - record().submitted_s);
    } else {
      interval.itl.Add(now - record().last_token_s);
    }
    record().last_token_s = now;
    const auto count = static_cast<int>(delta.token_ids.size());
    record().generated_tokens += count;
    recorder_->emitted_tokens_ += count;
    services.Serve(record().trace.tenant, kOutputTokenCost * count);
    interval.tenant_tokens[record().trace.tenant] += count;
  }

  void OnDraft(int, DraftEvent) override {}
  void OnPromptLogprobs(int, std::vector<TokenLogprobs>) override {}

  void OnFinished(int, FinishedEvent event) override {
    record().drafted_tokens = event.speculation.drafted_tokens;
    record().accepted_tokens = event.speculation.accepted_tokens;
  }

  void OnDone(absl::Status status) override { record().finished = status.ok(); }

 private:
  RequestRecord& record() { return recorder_->requests_[index_]; }

  Recorder* const recorder_;
  const int index_;
  TextState state_;
};

Recorder::Recorder(const TokenProcess* process, const VirtualClock* clock, int num_tenants,
                   double first_interval_s)
    : process_(process),
      clock_(clock),
      num_tenants_(num_tenants),
      interval_s_(first_interval_s),
      num_waiting_(num_tenants, 0) {}

void Recorder::Add(const TraceRequest& request, double submitted_s) {
  RequestRecord record;
  record.trace = request;
  record.submitted_s = submitted_s;
  requests_.push_back(record);
  emitted_at_last_submit_ = emitted_tokens_;
}

std::shared_ptr<TokenSink> Recorder::Submit(const TraceRequest& request,
                                            const std::vector<TokenId>& prompt,
                                            double submitted_s) {
  Add(request, submitted_s);
  ++num_waiting_[request.tenant];
  TextState state = process_->Start();
  for (const TokenId token : prompt) state = process_->Append(state, token);
  return std::make_shared<Sink>(this, static_cast<int>(requests_.size()) - 1, state);
}

void Recorder::Refuse(const TraceRequest& request, double submitted_s) {
  Add(request, submitted_s);
}

double Recorder::SteadyTokensPerSecond() const {
  if (requests_.empty()) return 0;
  return Ratio(static_cast<double>(emitted_at_last_submit_), requests_.back().submitted_s);
}

void Recorder::NoteLoad(int running, int waiting, int kv_blocks) {
  Interval& interval = Now();
  interval.most_running = std::max(interval.most_running, running);
  interval.most_waiting = std::max(interval.most_waiting, waiting);
  interval.most_kv_blocks = std::max(interval.most_kv_blocks, kv_blocks);
}

Interval& Recorder::Now() {
  const double now = clock_->NowSeconds();
  while (now >= interval_s_ * static_cast<double>(intervals_.size())) {
    if (intervals_.size() == kMaxIntervals) {
      MergeIntervals();
      continue;
    }
    Interval next;
    next.start_s = interval_s_ * static_cast<double>(intervals_.size());
    next.seconds = interval_s_;
    next.tenant_tokens.assign(num_tenants_, 0);
    intervals_.push_back(std::move(next));
  }
  return intervals_.back();
}

void Recorder::MergeIntervals() {
  for (size_t i = 0; i < intervals_.size() / 2; ++i) {
    if (i > 0) intervals_[i] = std::move(intervals_[2 * i]);
    intervals_[i].seconds *= 2;
    AddTo(intervals_[i], intervals_[2 * i + 1]);
  }
  intervals_.resize(intervals_.size() / 2);
  interval_s_ *= 2;
}

// The round has ended now, and its tokens are sent after this. So services are complete up to the
// round before.
void Recorder::OnRound(const RoundReport& report) {
  Interval& interval = Now();
  ++interval.rounds;
  interval.busy_s += ToSeconds(report.total_time);
  interval.emitted_tokens += report.emitted_tokens;
  interval.prefilled_tokens += report.prefill_rows;
  interval.drafted_tokens += report.drafted_tokens;
  interval.accepted_tokens += report.accepted_tokens;
  interval.draft_row_layers += report.draft_row_layers;
  interval.decoding_rows += report.decode_rows - report.drafted_tokens;
  interval.preemptions += report.preemptions;
  service_gap_.Note(num_tenants_ >= 2 && num_waiting_[0] > 0 && num_waiting_[1] > 0);
}

double TtftPercentile(const Recorder& recorder, int tenant, double fraction) {
  LogHistogram ttft;
  for (const RequestRecord& request : recorder.requests()) {
    if (request.trace.tenant != tenant || request.first_token_s < 0) continue;
    ttft.Add(request.first_token_s - request.submitted_s);
  }
  return ttft.Percentile(fraction);
}

Summary Summarize(const Recorder& recorder) {
  Summary summary;
  Interval total;
  for (const Interval& interval : recorder.intervals()) AddTo(total, interval);
  for (const RequestRecord& request : recorder.requests()) {
    ++summary.requests;
    if (!request.finished) continue;
    ++summary.finished;
    summary.seconds = std::max(summary.seconds, request.last_token_s);
    summary.cached_tokens += request.cached_prompt_tokens;
    const int gaps = request.generated_tokens - 1;
    if (gaps > 0) {
      summary.token_time.Add((request.last_token_s - request.first_token_s) / gaps);
    }
  }
  summary.rounds = total.rounds;
  summary.emitted_tokens = total.emitted_tokens;
  summary.prefilled_tokens = total.prefilled_tokens;
  summary.tokens_per_s = Ratio(static_cast<double>(total.emitted_tokens), summary.seconds);
  summary.busy = Ratio(total.busy_s, summary.seconds);
  summary.ttft = total.ttft;
  summary.itl = total.itl;
  summary.mean_drafts = total.MeanDrafts();
  summary.mean_exit = total.MeanExit();
  summary.acceptance = total.Acceptance();
  summary.preemptions = total.preemptions;
  return summary;
}

}  // namespace strata::sim
