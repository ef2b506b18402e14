#include "bench/workload.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include "engine/status_macros.h"

namespace strata::bench {
namespace {

// Remembers when tokens came.
class TimingSink final : public TokenSink {
 public:
  void OnStarted(int, const StartedEvent&) override {}
  void OnDelta(int, const Delta& delta) override {
    const Instant now = std::chrono::steady_clock::now();
    std::lock_guard lock(mu_);
    if (arrivals_.empty() || !delta.token_ids.empty()) {
      arrivals_.push_back({now, static_cast<int>(delta.token_ids.size())});
    }
  }
  void OnDraft(int, DraftEvent) override {}
  void OnPromptLogprobs(int, std::vector<TokenLogprobs>) override {}
  void OnFinished(int, FinishedEvent event) override {
    std::lock_guard lock(mu_);
    finished_ = std::move(event);
  }
  void OnDone(absl::Status status) override {
    std::lock_guard lock(mu_);
    status_ = std::move(status);
    done_.notify_all();
  }

  absl::Status Wait() {
    std::unique_lock lock(mu_);
    done_.wait(lock, [this] { return status_.has_value(); });
    return *status_;
  }

  // After Wait returned OK.
  const std::vector<Arrival>& arrivals() const { return arrivals_; }
  const SpeculationStats& speculation() const { return finished_.speculation; }

 private:
  std::mutex mu_;
  std::condition_variable done_;
  std::vector<Arrival> arrivals_;
  FinishedEvent finished_;
  std::optional<absl::Status> status_;
};

}  // namespace

void RoundTotals::OnRound(const RoundReport& report) {
  if (report.prefill_rows > 0) return;
  ++num_rounds_;
  totals_.draft_time += report.draft_time;
  totals_.sweep_time += report.sweep_time;
  totals_.verify_time += report.verify_time;
  totals_.total_time += report.total_time;
  totals_.draft_micro_steps += report.draft_micro_steps;
  totals_.drafted_tokens += report.drafted_tokens;
  totals_.accepted_tokens += report.accepted_tokens;
  totals_.emitted_tokens += report.emitted_tokens;
}

Measurement MeasureArrivals(Instant submitted, const std::vector<std::vector<Arrival>>& requests) {
  Instant first = submitted, last = submitted;
  for (const std::vector<Arrival>& arrivals : requests) {
    first = std::max(first, arrivals.front().at);
    last = std::max(last, arrivals.back().at);
  }
  Measurement result;
  result.prefill_seconds = Seconds(first - submitted);
  result.decode_seconds = Seconds(last - first);
  for (const std::vector<Arrival>& arrivals : requests) {
    for (const Arrival& arrival : arrivals) {
      if (arrival.at > first) result.decoded_tokens += arrival.num_tokens;
    }
  }
  return result;
}

absl::StatusOr<Measurement> Measure(Engine& engine, RoundTotals& rounds,
                                    const std::vector<GenerateRequest>& requests) {
  rounds.Reset();
  std::vector<std::shared_ptr<TimingSink>> sinks;
  const Instant submitted = std::chrono::steady_clock::now();
  for (const GenerateRequest& request : requests) {
    sinks.push_back(std::make_shared<TimingSink>());
    RETURN_IF_ERROR(engine.Submit(request, sinks.back()).status());
  }
  for (const auto& sink : sinks) RETURN_IF_ERROR(sink->Wait());
  // OnDone comes from within the last round; its report is in once the engine is idle.
  engine.WaitUntilIdle(Instant::max());

  std::vector<std::vector<Arrival>> arrivals;
  for (const auto& sink : sinks) arrivals.push_back(sink->arrivals());
  Measurement result = MeasureArrivals(submitted, arrivals);
  for (const auto& sink : sinks) {
    const SpeculationStats& stats = sink->speculation();
    result.speculation.rounds += stats.rounds - 1;
    result.speculation.drafted_tokens += stats.drafted_tokens;
    result.speculation.accepted_tokens += stats.accepted_tokens;
    result.speculation.emitted_tokens += stats.emitted_tokens;
  }
  result.decode_rounds = rounds.totals();
  result.num_decode_rounds = rounds.num_rounds();
  return result;
}

}  // namespace strata::bench
