#include "server/metrics.h"

#include <chrono>

#include "server/status_mapping.h"
#include "server/version.h"

namespace strata::server {
namespace {

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

// Seconds. From a small model on a GPU to a large one on a CPU under load.
const prometheus::Histogram::BucketBoundaries kFirstTokenBuckets = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
const prometheus::Histogram::BucketBoundaries kTokenBuckets = {
    0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5};
const prometheus::Histogram::BucketBoundaries kAnswerBuckets = {
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600};
const prometheus::Histogram::BucketBoundaries kRowBuckets = {1,   2,   4,   8,    16,   32,  64,
                                                             128, 256, 512, 1024, 2048, 4096};

double Now() { return Seconds(std::chrono::system_clock::now().time_since_epoch()); }

}  // namespace

ServerMetrics::Phases::Phases(prometheus::Family<prometheus::Counter>& family)
    : draft(family.Add({{"phase", "draft"}})),
      verify(family.Add({{"phase", "verify"}})),
      head(family.Add({{"phase", "head"}})),
      sampling(family.Add({{"phase", "sampling"}})),
      overhead(family.Add({{"phase", "overhead"}})) {}

ServerMetrics::ServerMetrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      factory_(registry_.get()),
      rounds_(factory_.AddCounter("strata_rounds_total", "Rounds of the engine")),
      last_round_(factory_.AddGauge("strata_last_round_timestamp_seconds",
                                    "When the last round ended; until there is one, when the "
                                    "server started")),
      round_time_(factory_.AddHistogram("strata_round_seconds", "Time of a round", kTokenBuckets)),
      phases_(factory_.AddFamily(
          "strata_round_phase_seconds_total",
          "Time by phase: layers of drafts (draft), layers of the sweep (verify), output matrix "
          "(head), choosing and verifying tokens (sampling), scheduling and delivery (overhead)")),
      batch_rows_(factory_.AddHistogram("strata_batch_rows",
                                        "Rows of a round's sweep: of prompts, of sequences that "
                                        "decode, and their drafts",
                                        kRowBuckets)),
      batch_sequences_(
          factory_.AddHistogram("strata_batch_sequences", "Sequences in a round", kRowBuckets)),
      generated_tokens_(factory_.AddCounter("strata_generated_tokens_total", "Tokens committed")),
      prompt_tokens_(factory_.AddCounter(
          "strata_prompt_tokens_total",
          "Tokens computed before a sequence's next one: of prompts (those found in the cache are "
          "not), and after preemptions")),
      cached_tokens_(
          factory_.AddCounter("strata_cached_tokens_total",
                              "Tokens whose keys and values were found in the prefix cache")),
      preemptions_(
          factory_.AddCounter("strata_preemptions_total",
                              "Sequences that lost their place to others, to come back later")),
      requests_(factory_.AddFamily("strata_requests_total", "Calls by method and status code")),
      finished_(factory_.AddFamily("strata_samples_finished_total", "Finished samples by reason")),
      aborted_(factory_.AddFamily("strata_requests_aborted_total",
                                  "Admitted requests that ended without finishing, by status "
                                  "code")),
      time_to_first_token_(factory_.AddHistogram("strata_time_to_first_token_seconds",
                                                 "Admission to first token", kFirstTokenBuckets)),
      inter_token_latency_(factory_.AddHistogram(
          "strata_inter_token_latency_seconds",
          "Time per token of each commit after the first: a round's tokens share its time",
          kTokenBuckets)),
      queue_time_(factory_.AddHistogram("strata_request_queue_time_seconds",
                                        "Admission to first round, of finished samples",
                                        kFirstTokenBuckets)),
      prefill_time_(factory_.AddHistogram("strata_request_prefill_time_seconds",
                                          "First round to first token, of finished samples",
                                          kFirstTokenBuckets)),
      decode_time_(factory_.AddHistogram("strata_request_decode_time_seconds",
                                         "First token to last, of finished samples",
                                         kAnswerBuckets)),
      audit_lines_lost_(factory_.AddCounter("strata_audit_lines_lost_total",
                                            "Lines of the audit log that could not be written")),
      log_lines_lost_(factory_.AddCounter("strata_log_lines_lost_total",
                                          "Lines of the log that could not be written to stderr")),
      reload_failures_(
          factory_.AddFamily("strata_reload_failures_total",
                             "Changed files that were broken, so that the old was kept")),
      stuck_(
          factory_.AddGauge("strata_engine_stuck", "Whether a round takes far too long: 0 or 1")),
      speculation_(factory_),
      tenants_(factory_) {
  last_round_.Set(Now());
  // Shown from the start, at 0: only then is a first increase seen.
  for (const char* method : {"Generate", "GenerateUnary", "Score", "Tokenize", "Detokenize"}) {
    requests_.Add({{"method", method}, {"code", "OK"}});
  }
  for (const FinishReason reason :
       {FinishReason::kEos, FinishReason::kStopSequence, FinishReason::kStopToken,
        FinishReason::kMaxTokens, FinishReason::kContextFull, FinishReason::kTimeLimit}) {
    finished_.Add({{"reason", NameOf(reason)}});
  }
  for (const char* code : {"CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL"}) {
    aborted_.Add({{"code", code}});
  }
  for (const char* what : {"credentials", "certificates", "audit log"}) {
    reload_failures_.Add({{"what", what}});
  }
}

void ServerMetrics::OnRound(const RoundReport& report) {
  rounds_.Increment();
  last_round_.Set(Now());
  CountTime(report);
  batch_rows_.Observe(report.prefill_rows + report.decode_rows);
  batch_sequences_.Observe(report.num_sequences);
  generated_tokens_.Increment(report.emitted_tokens);
  prompt_tokens_.Increment(report.prefill_rows);
  cached_tokens_.Increment(report.cached_tokens);
  preemptions_.Increment(report.preemptions);
  speculation_.OnRound(report);
}

void ServerMetrics::CountTime(const RoundReport& report) {
  round_time_.Observe(Seconds(report.total_time));
  phases_.draft.Increment(Seconds(report.draft_layers_time));
  phases_.verify.Increment(Seconds(report.sweep_time));
  phases_.head.Increment(Seconds(report.head_time));
  phases_.sampling.Increment(Seconds(report.draft_time + report.verify_time -
                                     report.draft_layers_time - report.head_time));
  phases_.overhead.Increment(Seconds(report.overhead_time));
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
  queue_time_.Observe(Seconds(event.timing.queued));
  prefill_time_.Observe(Seconds(event.timing.prefill));
  decode_time_.Observe(Seconds(event.timing.decode));
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
  factory_.AddGauge("strata_tls_certificate_end_timestamp_seconds", "When the TLS certificate ends")
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
