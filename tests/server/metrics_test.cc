#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <chrono>
#include <string>
#include <vector>

#include "server/load_metrics.h"

namespace strata::server {
namespace {

using ::testing::HasSubstr;

std::string Scrape(const ServerMetrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.registry()->Collect());
}

TEST(Metrics, CountsWhatRoundsDo) {
  ServerMetrics metrics;
  RoundReport report;
  report.drafted_tokens = 8;
  report.accepted_tokens = 5;
  report.emitted_tokens = 7;
  report.prefill_rows = 11;
  report.cached_tokens = 3;
  report.preemptions = 1;
  report.draft_time = std::chrono::seconds(9);
  report.draft_layers_time = std::chrono::seconds(4);
  report.sweep_time = std::chrono::seconds(16);
  report.verify_time = std::chrono::seconds(8);
  report.head_time = std::chrono::seconds(7);
  report.overhead_time = std::chrono::seconds(1);
  report.decode_rows = 9;
  report.num_sequences = 2;
  metrics.OnRound(report);
  metrics.OnRound(report);
  const std::string text = Scrape(metrics);
  EXPECT_THAT(text, HasSubstr("strata_rounds_total 2\n"));
  EXPECT_THAT(text, HasSubstr("strata_spec_decode_num_draft_tokens_total 16\n"));
  EXPECT_THAT(text, HasSubstr("strata_spec_decode_num_accepted_tokens_total 10\n"));
  EXPECT_THAT(text, HasSubstr("strata_generated_tokens_total 14\n"));
  EXPECT_THAT(text, HasSubstr("strata_prompt_tokens_total 22\n"));
  EXPECT_THAT(text, HasSubstr("strata_cached_tokens_total 6\n"));
  EXPECT_THAT(text, HasSubstr("strata_preemptions_total 2\n"));
  const std::string phases = "strata_round_phase_seconds_total{phase=";
  EXPECT_THAT(text, HasSubstr(phases + "\"draft\"} 8\n"));
  EXPECT_THAT(text, HasSubstr(phases + "\"verify\"} 32\n"));
  EXPECT_THAT(text, HasSubstr(phases + "\"head\"} 14\n"));
  EXPECT_THAT(text, HasSubstr(phases + "\"sampling\"} 12\n"));
  EXPECT_THAT(text, HasSubstr(phases + "\"overhead\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("strata_batch_rows_sum 40\n"));
  EXPECT_THAT(text, HasSubstr("strata_batch_sequences_sum 4\n"));
}

TEST(Metrics, CountsDraftsByPositionAndExit) {
  ServerMetrics metrics;
  const std::vector<DraftTally> drafts = {{4, 3, 1}, {8, 1, 1}, {4, 2, 0}};
  RoundReport report;
  report.drafts = drafts;
  metrics.OnRound(report);
  const std::string text = Scrape(metrics);
  const std::string prefix = "strata_spec_decode_num_";
  EXPECT_THAT(text, HasSubstr(prefix + "drafts_total 3\n"));
  EXPECT_THAT(text, HasSubstr(prefix + "draft_tokens_per_pos_total{position=\"0\"} 3\n"));
  EXPECT_THAT(text, HasSubstr(prefix + "draft_tokens_per_pos_total{position=\"2\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(prefix + "accepted_tokens_per_pos_total{position=\"0\"} 2\n"));
  EXPECT_THAT(text, HasSubstr(prefix + "accepted_tokens_per_pos_total{position=\"1\"} 0\n"));
  EXPECT_THAT(text, HasSubstr(prefix + "draft_tokens_per_exit_total{exit_layer=\"4\"} 5\n"));
  EXPECT_THAT(text, HasSubstr(prefix + "accepted_tokens_per_exit_total{exit_layer=\"4\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(prefix + "accepted_tokens_per_exit_total{exit_layer=\"8\"} 1\n"));
}

TEST(Metrics, MeasuresSpeculationWhereItCanBeCompared) {
  ServerMetrics metrics;
  RoundReport report;
  report.total_time = std::chrono::seconds(2);
  metrics.OnRound(report);
  report.drafting.plain_seconds = 3;
  report.drafting.decision = DraftDecision::kDraft;
  report.drafting.expected_speedup = 1.75;
  metrics.OnRound(report);
  report.drafting.plain_seconds = 0;
  report.drafting = {};
  metrics.OnRound(report);
  const std::string text = Scrape(metrics);
  EXPECT_THAT(text, HasSubstr("strata_speculation_seconds_total 2\n"));
  EXPECT_THAT(text, HasSubstr("strata_speculation_plain_seconds_total 3\n"));
  EXPECT_THAT(text, HasSubstr("strata_policy_expected_speedup_ratio 1.75\n"));
}

TEST(Metrics, TimesWhatSamplesWentThrough) {
  ServerMetrics metrics;
  FinishedEvent event;
  event.reason = FinishReason::kEos;
  event.timing = {std::chrono::seconds(1), std::chrono::seconds(2), std::chrono::seconds(3)};
  metrics.OnFinished(event);
  const std::string text = Scrape(metrics);
  EXPECT_THAT(text, HasSubstr("strata_request_queue_time_seconds_sum 1\n"));
  EXPECT_THAT(text, HasSubstr("strata_request_prefill_time_seconds_sum 2\n"));
  EXPECT_THAT(text, HasSubstr("strata_request_decode_time_seconds_sum 3\n"));
  EXPECT_THAT(text, HasSubstr("strata_samples_finished_total{reason=\"eos\"} 1\n"));
}

TEST(Metrics, ShowsWhenTheLastRoundEnded) {
  const auto last_round = [](const ServerMetrics& metrics) {
    const std::string text = Scrape(metrics);
    const std::string name = "\nstrata_last_round_timestamp_seconds ";
    return std::stod(text.substr(text.find(name) + name.size()));
  };
  ServerMetrics metrics;
  const double start = last_round(metrics);
  EXPECT_GT(start, 1.6e9) << "none yet: since the server runs";
  while (last_round(metrics) <= start) metrics.OnRound(RoundReport());
}

TEST(Metrics, ObservesLatencies) {
  ServerMetrics metrics;
  metrics.OnFirstToken(std::chrono::milliseconds(20));
  metrics.OnInterToken(std::chrono::milliseconds(30), 3);
  const std::string text = Scrape(metrics);
  EXPECT_THAT(text, HasSubstr("strata_time_to_first_token_seconds_count 1\n"));
  EXPECT_THAT(text, HasSubstr("strata_inter_token_latency_seconds_count 3\n"));
  EXPECT_THAT(text, HasSubstr("strata_inter_token_latency_seconds_bucket{le=\"0.02\"} 3\n"));
}

TEST(Metrics, CountsCallsByMethodAndCode) {
  ServerMetrics metrics;
  metrics.OnCall("Generate", grpc::StatusCode::RESOURCE_EXHAUSTED);
  metrics.OnAborted(absl::CancelledError());
  const std::string text = Scrape(metrics);
  EXPECT_THAT(text, HasSubstr("{code=\"RESOURCE_EXHAUSTED\",method=\"Generate\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("strata_requests_total{code=\"OK\",method=\"Generate\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("strata_requests_aborted_total{code=\"CANCELLED\"} 1\n"));
}

TEST(Metrics, TwoServersCountApart) {
  ServerMetrics one;
  ServerMetrics other;
  one.OnRound(RoundReport());
  EXPECT_THAT(Scrape(one), HasSubstr("strata_rounds_total 1\n"));
  EXPECT_THAT(Scrape(other), HasSubstr("strata_rounds_total 0\n"));
}

TEST(Metrics, ReadsTheLoadAtEachScrape) {
  EngineLoad load;
  const LoadMetrics metrics([&] { return load; });
  load.queued_requests = 3;
  load.kv_blocks_used = 4;
  const std::string text = prometheus::TextSerializer().Serialize(metrics.Collect());
  EXPECT_THAT(text, HasSubstr("strata_queued_requests 3\n"));
  EXPECT_THAT(text, HasSubstr("strata_kv_blocks_used 4\n"));
  EXPECT_THAT(text, HasSubstr("strata_running_requests 0\n"));
}

}  // namespace
}  // namespace strata::server
