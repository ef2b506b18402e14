#include "server/metrics.h"

#include <fmt/format.h>

#include <chrono>

#include "server/status_mapping.h"
#include "server/version.h"

namespace strata::server {
namespace {

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

const char* NameOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kStopSequence:
      return "stop_sequence";
    case FinishReason::kStopToken:
      return "stop_token";
    case FinishReason::kMaxTokens:
      return "max_tokens";
    case FinishReason::kContextFull:
      return "context_full";
    case FinishReason::kTimeLimit:
      return "time_limit";
  }
  return "unknown";
}

const char* NameOf(DraftDecision decision) {
  switch (decision) {
    case DraftDecision::kNone:
      return "none";
    case DraftDecision::kDraft:
      return "draft";
    case DraftDecision::kLoad:
      return "load";
    case DraftDecision::kAcceptance:
      return "acceptance";
    case DraftDecision::kLatency:
      return "latency";
    case DraftDecision::kCap:
      return "cap";
  }
  return "unknown";
}

// Seconds. From a small model on a GPU to a large one on a CPU under load.
const prometheus::Histogram::BucketBoundaries kFirstTokenBuckets = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
const prometheus::Histogram::BucketBoundaries kTokenBuckets = {
    0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5};

}  // namespace

ServerMetrics::ServerMetrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      rounds_(AddCounter("strata_rounds_total", "Rounds of the engine")),
      draft_tokens_(AddCounter("strata_spec_decode_num_draft_tokens_total",
                               "Tokens drafted by the early layers")),
      accepted_tokens_(AddCounter("strata_spec_decode_num_accepted_tokens_total",
                                  "Drafted tokens that were committed")),
      generated_tokens_(AddCounter("strata_generated_tokens_total", "Tokens committed")),
      prompt_tokens_(AddCounter("strata_prompt_tokens_total",
                                "Prompt tokens computed (those found in the cache are not)")),
      cached_tokens_(AddCounter("strata_cached_tokens_total",
                                "Tokens whose keys and values were found in the prefix cache")),
      preemptions_(AddCounter("strata_preemptions_total",
                              "Sequences that lost their place to others, to come back later")),
      accepted_per_position_(
          AddFamily("strata_spec_decode_num_accepted_tokens_per_pos_total",
                    "Accepted drafts by position in the draft, of finished samples")),
      round_phases_(AddFamily("strata_round_phase_seconds_total",
                              "Time of rounds by phase: draft, sweep, verify")),
      requests_(AddFamily("strata_requests_total", "Calls by method and status code")),
      finished_(AddFamily("strata_samples_finished_total", "Finished samples by reason")),
      aborted_(AddFamily("strata_requests_aborted_total",
                         "Admitted requests that ended without finishing, by status code")),
      audit_lines_lost_(AddCounter("strata_audit_lines_lost_total",
                                   "Lines of the audit log that could not be written")),
      log_lines_lost_(AddCounter("strata_log_lines_lost_total",
                                 "Lines of the log that could not be written to stderr")),
      reload_failures_(AddFamily("strata_reload_failures_total",
                                 "Changed files that were broken, so that the old was kept")),
      stuck_(AddGauge("strata_engine_stuck", "Whether a round takes far too long: 0 or 1")),
      time_to_first_token_(AddHistogram("strata_time_to_first_token_seconds",
                                        "Admission to first token", kFirstTokenBuckets)),
      inter_token_latency_(AddHistogram(
          "strata_inter_token_latency_seconds",
          "Time per token of each commit after the first: a round's tokens share its time",
          kTokenBuckets)),
      round_time_(AddHistogram("strata_round_seconds", "Time of a round", kTokenBuckets)),
      policy_rounds_(AddFamily("strata_policy_rounds_total",
                               "Rounds by what auto speculation decided: draft, or why not: load, "
                               "acceptance, latency, cap")),
      policy_exits_(AddFamily("strata_policy_exit_rounds_total",
                              "Rounds in which auto speculation drafted, by exit layer")),
      policy_micro_steps_(AddCounter("strata_policy_planned_micro_steps_total",
                                     "Draft steps that auto speculation expected to be best")),
      policy_probes_(AddCounter("strata_policy_probes_total",
                                "Drafts that other exits were asked for, to compare them")),
      policy_probe_seconds_(AddCounter("strata_policy_probe_seconds_total", "Time of probes")),
      predicted_seconds_(AddCounter("strata_policy_predicted_seconds_total",
                                    "Predicted times of the rounds in strata_round_seconds, "
                                    "without probes")),
      policy_price_(
          AddGauge("strata_policy_price_tokens_per_second", "Tokens that a second has to bring")),
      step_time_error_(AddGauge("strata_policy_step_time_error",
                                "Mean |actual / predicted - 1| of recent steps' times")),
      calibration_error_(AddGauge("strata_policy_calibration_error",
                                  "Mean distance of predicted from observed acceptance")) {
  for (const char* method : {"Generate", "GenerateUnary", "Score"}) {
    requests_.Add({{"method", method}, {"code", "OK"}});  // shown from the start, at 0
  }
}

prometheus::Gauge& ServerMetrics::AddGauge(const std::string& name, const std::string& help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(*registry_).Add({});
}

prometheus::Counter& ServerMetrics::AddCounter(const std::string& name, const std::string& help) {
  return AddFamily(name, help).Add({});
}

prometheus::Family<prometheus::Counter>& ServerMetrics::AddFamily(const std::string& name,
                                                                  const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(*registry_);
}

prometheus::Histogram& ServerMetrics::AddHistogram(
    const std::string& name, const std::string& help,
    const prometheus::Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(*registry_).Add({}, buckets);
}

void ServerMetrics::OnRound(const RoundReport& report) {
  rounds_.Increment();
  draft_tokens_.Increment(report.drafted_tokens);
  accepted_tokens_.Increment(report.accepted_tokens);
  generated_tokens_.Increment(report.emitted_tokens);
  prompt_tokens_.Increment(report.prefill_rows);
  cached_tokens_.Increment(report.cached_tokens);
  preemptions_.Increment(report.preemptions);
  round_phases_.Add({{"phase", "draft"}}).Increment(Seconds(report.draft_time));
  round_phases_.Add({{"phase", "sweep"}}).Increment(Seconds(report.sweep_time));
  round_phases_.Add({{"phase", "verify"}}).Increment(Seconds(report.verify_time));
  round_time_.Observe(Seconds(report.total_time));
  ShowPolicy(report);
}

void ServerMetrics::ShowPolicy(const RoundReport& report) {
  policy_probes_.Increment(report.num_probes);
  policy_probe_seconds_.Increment(Seconds(report.probe_time));
  const DraftReport& drafting = report.drafting;
  predicted_seconds_.Increment(drafting.predicted_seconds);
  step_time_error_.Set(drafting.step_time_error);
  calibration_error_.Set(drafting.calibration_error);
  if (drafting.decision == DraftDecision::kNone) return;
  policy_rounds_.Add({{"decision", NameOf(drafting.decision)}}).Increment();
  policy_price_.Set(drafting.price);
  if (drafting.decision != DraftDecision::kDraft) return;
  policy_exits_.Add({{"exit_layer", fmt::format("{}", drafting.exit_layer)}}).Increment();
  policy_micro_steps_.Increment(drafting.micro_steps);
}

void ServerMetrics::OnFirstToken(Duration since_submit) {
  time_to_first_token_.Observe(Seconds(since_submit));
}

void ServerMetrics::OnInterToken(Duration since_last, int num_tokens) {
  for (int i = 0; i < num_tokens; ++i) {
    inter_token_latency_.Observe(Seconds(since_last) / num_tokens);
  }
}

void ServerMetrics::OnFinished(const FinishedEvent& event) {
  finished_.Add({{"reason", NameOf(event.reason)}}).Increment();
  const std::vector<int>& accepted = event.speculation.accepted_per_position;
  for (size_t i = 0; i < accepted.size(); ++i) {
    accepted_per_position_.Add({{"position", fmt::format("{}", i)}}).Increment(accepted[i]);
  }
}

void ServerMetrics::OnAborted(const absl::Status& status) {
  aborted_.Add({{"code", absl::StatusCodeToString(status.code())}}).Increment();
}

void ServerMetrics::OnCall(const std::string& method, grpc::StatusCode code) {
  requests_.Add({{"method", method}, {"code", CodeName(code)}}).Increment();
}

void ServerMetrics::OnAuditLineLost() { audit_lines_lost_.Increment(); }

void ServerMetrics::OnLogLineLost() { log_lines_lost_.Increment(); }

void ServerMetrics::OnReloadFailed(const std::string& what) {
  reload_failures_.Add({{"what", what}}).Increment();
}

void ServerMetrics::SetCertificateEnd(std::chrono::system_clock::time_point not_after) {
  AddGauge("strata_tls_certificate_end_timestamp_seconds", "When the TLS certificate ends")
      .Set(Seconds(not_after.time_since_epoch()));
}

void ServerMetrics::SetStuck(bool stuck) { stuck_.Set(stuck ? 1 : 0); }

void ServerMetrics::SetBuildInfo(const std::string& model, const std::string& backend) {
  prometheus::BuildGauge()
      .Name("strata_build_info")
      .Help("1, with what is served as labels")
      .Register(*registry_)
      .Add({{"version", kVersion}, {"model", model}, {"backend", backend}})
      .Set(1);
}

}  // namespace strata::server
