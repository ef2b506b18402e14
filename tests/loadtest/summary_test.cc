#include "loadtest/generator/summary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "loadtest/generator/collector.h"

namespace strata::loadtest {
namespace {

CallRecord Succeeded(double due_s, double ttft_s, double token_time_s, int tokens) {
  CallRecord call;
  call.due_s = due_s;
  call.sent_s = due_s;
  call.first_token_s = due_s + ttft_s;
  call.first_tokens = std::min(tokens, 1);
  call.last_token_s = call.first_token_s + token_time_s * (tokens - 1);
  call.end_s = call.last_token_s;
  call.tokens = tokens;
  for (int i = 1; i < tokens; ++i) call.token_gaps_s.push_back(static_cast<float>(token_time_s));
  return call;
}

Observations Observe(const std::vector<CallRecord>& calls, double warmup_s) {
  Collector collector(warmup_s);
  for (const CallRecord& call : calls) {
    collector.OnSent(call.sent_s);
    if (call.tokens > 0) collector.OnTokens(call.first_token_s, call.tokens);
    collector.OnCallDone(call);
  }
  return collector.Take();
}

TEST(CallRecord, TakesNoTimeForTokensThatCameTogether) {
  CallRecord call = Succeeded(1, 1, 0, 10);
  call.first_tokens = 4;
  call.last_token_s = call.first_token_s + 3;
  EXPECT_DOUBLE_EQ(call.token_time_s(), 0.5);
  call.first_tokens = 10;
  EXPECT_EQ(call.token_time_s(), 0);
}

TEST(Summary, LeavesTheWarmUpOut) {
  const Observations observations =
      Observe({Succeeded(1, 5, 1, 2), Succeeded(10, 0.5, 0.01, 11)}, 10);
  const Summary summary = Summarize(observations, 10, 20, {});
  EXPECT_EQ(summary.calls, 1);
  EXPECT_EQ(summary.tokens, 11);
  EXPECT_DOUBLE_EQ(summary.calls_per_s, 0.1);
  EXPECT_DOUBLE_EQ(summary.tokens_per_s, 1.1);
  EXPECT_NEAR(summary.ttft_s.Percentile(1), 0.5, 0.005);
  EXPECT_EQ(summary.itl_s.count(), 10);
  EXPECT_NEAR(summary.itl_s.Percentile(0.5), 0.01, 0.0001);
}

TEST(Summary, IsLateFromWhenACallWasDue) {
  CallRecord call = Succeeded(2, 1, 0.1, 3);
  call.sent_s = 2.9;  // the generator was late, not the caller
  const Summary summary = Summarize(Observe({call}, 0), 0, 10, {});
  EXPECT_NEAR(summary.ttft_s.Percentile(1), 1, 0.01);
  EXPECT_NEAR(summary.end_to_end_s.Percentile(1), 1.2, 0.012);
}

TEST(Summary, GoodCallsAreThoseInTime) {
  const std::vector<CallRecord> calls = {Succeeded(0, 0.1, 0.01, 5), Succeeded(0, 0.3, 0.01, 5),
                                         Succeeded(0, 0.1, 0.05, 5), Succeeded(0, 0.1, 0.05, 1)};
  const auto good = [&](const ServiceLevel& level) {
    return Summarize(Observe(calls, 0), 0, 1, level).good_calls_per_s;
  };
  EXPECT_DOUBLE_EQ(good({}), 4);
  EXPECT_DOUBLE_EQ(good({0.2, 0}), 3);
  EXPECT_DOUBLE_EQ(good({0, 0.02}), 3);  // a call of one token has no time between tokens
  EXPECT_DOUBLE_EQ(good({0.2, 0.02}), 2);
}

TEST(Summary, WhatEndsAfterTheEndIsNoSpeed) {
  const Summary summary =
      Summarize(Observe({Succeeded(0.5, 0.1, 0.1, 3), Succeeded(0.6, 5, 1, 3)}, 0), 0, 1, {});
  EXPECT_EQ(summary.succeeded, 2);
  EXPECT_EQ(summary.ttft_s.count(), 2);
  EXPECT_DOUBLE_EQ(summary.calls_per_s, 1);
  EXPECT_DOUBLE_EQ(summary.good_calls_per_s, 1);
}

TEST(Summary, CountsFailuresByCode) {
  CallRecord refused;
  refused.code = grpc::StatusCode::RESOURCE_EXHAUSTED;
  refused.error = "the queue is full";
  CallRecord ended;
  ended.code = grpc::StatusCode::CANCELLED;
  CallRecord cancelled = Succeeded(0, 0.1, 0.1, 2);
  cancelled.code = grpc::StatusCode::CANCELLED;
  cancelled.cancelled = true;
  const Summary summary = Summarize(Observe({refused, refused, ended, cancelled}, 0), 0, 1, {});
  EXPECT_EQ(summary.succeeded, 1);
  EXPECT_EQ(summary.cancelled, 1);
  EXPECT_EQ(summary.failures.at("RESOURCE_EXHAUSTED"), 2);
  EXPECT_EQ(summary.failures.at("CANCELLED"), 1);  // nobody asked for that one
  EXPECT_EQ(summary.first_error.at("RESOURCE_EXHAUSTED"), "the queue is full");
  EXPECT_EQ(summary.ttft_s.count(), 1);
  EXPECT_EQ(summary.end_to_end_s.count(), 0);  // a cancelled call has no end of its own
}

TEST(Summary, ACallThatWasNotSentWasOffered) {
  Collector collector(0);
  collector.OnNotSent();
  const Summary summary = Summarize(collector.Take(), 0, 2, {});
  EXPECT_EQ(summary.not_sent, 1);
  EXPECT_DOUBLE_EQ(summary.offered_calls_per_s, 0.5);
}

TEST(Collector, KnowsWhatIsInFlightInEachSecond) {
  Collector collector(0);
  collector.OnSent(0.1);
  collector.OnSent(0.2);
  CallRecord call;
  call.end_s = 3.5;
  collector.OnCallDone(call);
  EXPECT_EQ(collector.progress().in_flight, 1);
  const Observations observations = collector.Take();
  ASSERT_EQ(observations.seconds.size(), 4u);
  EXPECT_EQ(observations.seconds[0].sent, 2);
  EXPECT_EQ(observations.seconds[2].most_in_flight, 2);
  EXPECT_EQ(observations.seconds[3].done, 1);
}

}  // namespace
}  // namespace strata::loadtest
