// The line that each call leaves in the log, and the ids by which others find it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/server/captured_log.h"
#include "tests/server/test_server.h"

namespace strata::server {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kTraceparent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

class RequestLog : public ::testing::Test {
 protected:
  // The line of the only call that has ended.
  nlohmann::json Line() {
    EXPECT_TRUE(TestServer::Eventually([&] { return log_.Find("request").size() == 1; }));
    const auto found = log_.Find("request");
    return found.empty() ? nlohmann::json() : found[0];
  }
  static std::string Metadata(const grpc::ClientContext& context, const std::string& key) {
    const auto& metadata = context.GetServerInitialMetadata();
    const auto found = metadata.find(key);
    return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
  }

  CapturedLog log_{LogFormat::kJson, spdlog::level::info};
  TestServer server_;
};

TEST_F(RequestLog, SaysWhatACallWasAndTook) {
  grpc::ClientContext context;
  v1::GenerateRequest request = GreedyRequest(20);
  request.mutable_speculation()->mutable_fixed()->set_exit_layer(2);
  request.mutable_speculation()->mutable_fixed()->set_num_draft_tokens(3);
  v1::GenerateResult result;
  ASSERT_TRUE(server_.inference().GenerateUnary(&context, request, &result).ok());
  const nlohmann::json line = Line();
  const v1::SampleResult& sample = result.samples(0);
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["request_id"], result.request_id());
  EXPECT_EQ(line["request_id"], Metadata(context, "x-request-id"));
  EXPECT_EQ(line["method"], "GenerateUnary");
  EXPECT_EQ(line["code"], "OK");
  EXPECT_THAT(std::string(line["peer"]), HasSubstr("127.0.0.1"));
  EXPECT_EQ(line["prompt_tokens"], sample.finished().usage().prompt_tokens());
  EXPECT_EQ(line["cached_tokens"], sample.started().cached_prompt_tokens());
  EXPECT_EQ(line["generated_tokens"], 20);
  EXPECT_GT(sample.finished().speculation().drafted_tokens(), 0u);
  EXPECT_EQ(line["drafted_tokens"], sample.finished().speculation().drafted_tokens());
  EXPECT_EQ(line["accepted_tokens"], sample.finished().speculation().accepted_tokens());
  EXPECT_LE(line["queue_ms"], line["ttft_ms"]);
  EXPECT_LE(line["ttft_ms"], line["total_ms"]);
  EXPECT_GT(line["engine_request"], 0);
  EXPECT_FALSE(line.contains("trace_id"));
  EXPECT_EQ(Metadata(context, "traceparent"), "");
}

TEST_F(RequestLog, TakesTheIdOfTheMetadataAndTheTrace) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "theirs 7");
  context.AddMetadata("traceparent", kTraceparent);
  v1::TokenizeRequest request;
  request.set_text("x");
  v1::TokenizeResponse response;
  ASSERT_TRUE(server_.inference().Tokenize(&context, request, &response).ok());
  const nlohmann::json line = Line();
  EXPECT_EQ(line["request_id"], "theirs 7");
  EXPECT_EQ(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(line["parent_id"], "00f067aa0ba902b7");
  EXPECT_FALSE(line.contains("ttft_ms"));
  EXPECT_EQ(Metadata(context, "x-request-id"), "theirs 7");
  EXPECT_EQ(Metadata(context, "traceparent"), kTraceparent);
}

TEST_F(RequestLog, TheMessagesOwnIdComesFirst) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "of-metadata");
  v1::GenerateRequest request = GreedyRequest(1);
  request.set_request_id("of-message");
  const auto reader = server_.inference().Generate(&context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) EXPECT_EQ(response.request_id(), "of-message");
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(Metadata(context, "x-request-id"), "of-message");
  EXPECT_EQ(Line()["request_id"], "of-message");
}

TEST_F(RequestLog, WhatIsNoIdOrTraceIsPassedOver) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", std::string(129, 'x'));
  context.AddMetadata("traceparent", std::string(kTraceparent) + "0");
  v1::GenerateResult result;
  ASSERT_TRUE(server_.inference().GenerateUnary(&context, GreedyRequest(1), &result).ok());
  const nlohmann::json line = Line();
  EXPECT_THAT(std::string(line["request_id"]), StartsWith("req-"));
  EXPECT_FALSE(line.contains("trace_id"));
  EXPECT_EQ(Metadata(context, "traceparent"), "");
}

TEST_F(RequestLog, ARefusedCallHasItsLineToo) {
  v1::GenerateRequest request = GreedyRequest(1);
  request.mutable_sampling()->set_top_p(7);
  const StreamResult result = Stream(server_.inference(), request);
  const nlohmann::json line = Line();
  EXPECT_EQ(line["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(line["generated_tokens"], 0);
  EXPECT_FALSE(line.contains("engine_request"));
  EXPECT_FALSE(line.contains("error"));  // it quotes the caller: at level debug only
}

TEST_F(RequestLog, ACancelledCallSaysWhatItUsed) {
  grpc::ClientContext context;
  const auto reader = server_.inference().Generate(&context, GreedyRequest(400));
  v1::GenerateResponse response;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(reader->Read(&response));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  const nlohmann::json line = Line();
  EXPECT_EQ(line["code"], "CANCELLED");
  EXPECT_GT(line["generated_tokens"], 0);
}

TEST_F(RequestLog, TheTraceOfRoundsHasTheCall) {
  v1::GenerateRequest request = GreedyRequest(30);
  request.mutable_sampling()->set_num_samples(2);
  request.mutable_speculation()->mutable_fixed()->set_exit_layer(2);
  const StreamResult result = Stream(server_.inference(), request);
  ASSERT_TRUE(result.status.ok());
  const uint64_t engine_request = Line()["engine_request"];
  ASSERT_TRUE(server_.BecomesIdle());
  grpc::ClientContext context;
  v1::Trace trace;
  ASSERT_TRUE(server_.control().GetTrace(&context, {}, &trace).ok());
  uint32_t emitted = 0;
  uint32_t drafted = 0;
  int64_t last_end = 0;
  for (const v1::Round& round : trace.rounds()) {
    EXPECT_GE(round.start_ns(), last_end);
    EXPECT_GT(round.sweep_ns(), 0);
    last_end = round.start_ns() + round.plan_ns() + round.draft_ns() + round.sweep_ns() +
               round.verify_ns() + round.probe_ns() + round.deliver_ns();
    uint32_t emitted_in_round = 0;
    for (const v1::SequenceInRound& sequence : round.sequences()) {
      EXPECT_EQ(sequence.engine_request(), engine_request);
      EXPECT_LT(sequence.sample_index(), 2u);
      EXPECT_LE(sequence.accepted_tokens(), sequence.drafted_tokens());
      emitted_in_round += sequence.emitted_tokens();
    }
    EXPECT_EQ(round.sequences_size(), round.num_sequences());
    EXPECT_EQ(emitted_in_round, round.emitted_tokens());
    emitted += round.emitted_tokens();
    drafted += round.drafted_tokens();
  }
  EXPECT_EQ(emitted, 60u);
  EXPECT_GT(drafted, 0u);
  EXPECT_GT(trace.begin_unix_us(), 0);

  v1::GetTraceRequest last;
  last.set_max_rounds(3);
  grpc::ClientContext second;
  v1::Trace few;
  ASSERT_TRUE(server_.control().GetTrace(&second, last, &few).ok());
  ASSERT_EQ(few.rounds_size(), 3);
  EXPECT_EQ(few.rounds(2).number(), trace.rounds(trace.rounds_size() - 1).number());
}

}  // namespace
}  // namespace strata::server
