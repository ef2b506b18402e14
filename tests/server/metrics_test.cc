#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>

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
  report.draft_time = std::chrono::seconds(2);
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
  EXPECT_THAT(text, HasSubstr("strata_round_phase_seconds_total{phase=\"draft\"} 4\n"));
}

TEST(Metrics, CountsAcceptanceByPosition) {
  ServerMetrics metrics;
  FinishedEvent event;
  event.reason = FinishReason::kEos;
  event.speculation.accepted_per_position = {3, 1};
  metrics.OnFinished(event);
  const std::string text = Scrape(metrics);
  EXPECT_THAT(
      text, HasSubstr("strata_spec_decode_num_accepted_tokens_per_pos_total{position=\"0\"} 3\n"));
  EXPECT_THAT(
      text, HasSubstr("strata_spec_decode_num_accepted_tokens_per_pos_total{position=\"1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("strata_samples_finished_total{reason=\"eos\"} 1\n"));
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
