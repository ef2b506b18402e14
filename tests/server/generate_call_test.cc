// Generate and GenerateUnary over loopback, on a real engine.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "tests/server/test_server.h"

namespace strata::server {
namespace {

class GenerateCall : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = new TestServer; }
  static void TearDownTestSuite() { delete server_; }

  static StreamResult Generate(const v1::GenerateRequest& request) {
    return Stream(server_->inference(), request);
  }
  static v1::GenerateResult Unary(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    v1::GenerateResult result;
    const grpc::Status status = server_->inference().GenerateUnary(&context, request, &result);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return result;
  }

  static TestServer* server_;
};
TestServer* GenerateCall::server_ = nullptr;

TEST_F(GenerateCall, StreamsStartedThenDeltasThenFinished) {
  v1::GenerateRequest request = GreedyRequest(20);
  request.set_request_id("mine");
  const StreamResult result = Generate(request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_GE(result.responses.size(), 3u);
  EXPECT_TRUE(result.responses.front().has_started());
  EXPECT_GT(result.responses.front().started().prompt_tokens(), 0u);
  EXPECT_TRUE(result.responses.back().has_finished());
  for (size_t i = 1; i + 1 < result.responses.size(); ++i) {
    EXPECT_TRUE(result.responses[i].has_delta());
    EXPECT_EQ(result.responses[i].request_id(), "mine");
  }
  EXPECT_EQ(result.token_ids.size(), 20u);
  EXPECT_EQ(result.finished().reason(), v1::FINISH_REASON_MAX_TOKENS);
  EXPECT_EQ(result.finished().usage().generated_tokens(), 20u);
}

TEST_F(GenerateCall, UnaryGivesTheSame) {
  const v1::GenerateRequest request = GreedyRequest(20);
  const StreamResult stream = Generate(request);
  const v1::GenerateResult unary = Unary(request);
  ASSERT_EQ(unary.samples_size(), 1);
  EXPECT_EQ(unary.samples(0).text(), stream.text);
  EXPECT_TRUE(std::equal(stream.token_ids.begin(), stream.token_ids.end(),
                         unary.samples(0).token_ids().begin(), unary.samples(0).token_ids().end()));
  EXPECT_EQ(unary.samples(0).finished().reason(), stream.finished().reason());
  EXPECT_FALSE(unary.request_id().empty());
}

TEST_F(GenerateCall, SpeculationChangesNoSeededToken) {
  v1::GenerateRequest request = GreedyRequest(40);
  request.mutable_sampling()->set_temperature(0.8f);
  request.mutable_sampling()->set_seed(7);
  request.mutable_speculation()->mutable_off();
  const StreamResult off = Generate(request);
  request.mutable_speculation()->mutable_fixed()->set_exit_layer(3);
  request.mutable_speculation()->mutable_fixed()->set_num_draft_tokens(4);
  const StreamResult fixed = Generate(request);
  EXPECT_EQ(off.token_ids, fixed.token_ids);
  EXPECT_EQ(off.text, fixed.text);
  EXPECT_GT(fixed.finished().speculation().drafted_tokens(), 0u);
}

// However slow the machine, there is a message in each interval at most.
TEST_F(GenerateCall, StreamIntervalGathersTokensInFewMessages) {
  Options options = TestOptions();
  options.model = STRATA_SOURCE_DIR "/models/demo";
  options.stream_interval = std::chrono::seconds(1);
  TestServer server(options);
  v1::GenerateRequest request = GreedyRequest(30);
  request.mutable_speculation()->mutable_off();
  const auto begin = std::chrono::steady_clock::now();
  const StreamResult result = Stream(server.inference(), request);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.token_ids.size(), 30u);
  EXPECT_LE(static_cast<double>(result.responses.size()), 4 + seconds.count());
}

TEST_F(GenerateCall, RunsAddUpToTokensAndText) {
  v1::GenerateRequest request = GreedyRequest(60);
  request.mutable_speculation()->mutable_fixed()->set_exit_layer(5);
  request.mutable_speculation()->mutable_fixed()->set_num_draft_tokens(4);
  const StreamResult result = Generate(request);
  uint32_t drafted = 0;
  for (const v1::GenerateResponse& response : result.responses) {
    uint32_t tokens = 0;
    uint32_t bytes = 0;
    for (const v1::TokenRun& run : response.delta().runs()) {
      tokens += run.num_tokens();
      bytes += run.text_bytes();
      if (run.drafted()) drafted += run.num_tokens();
    }
    EXPECT_EQ(tokens, static_cast<uint32_t>(response.delta().token_ids_size()));
    EXPECT_EQ(bytes, response.delta().text().size());
  }
  EXPECT_EQ(drafted, result.finished().speculation().accepted_tokens());
}

TEST_F(GenerateCall, StreamsDraftsWhereAsked) {
  v1::GenerateRequest request = GreedyRequest(100);
  request.mutable_speculation()->mutable_fixed()->set_exit_layer(5);
  request.mutable_speculation()->mutable_fixed()->set_num_draft_tokens(4);
  const auto has_draft = [](const v1::GenerateResponse& response) { return response.has_draft(); };
  StreamResult result = Generate(request);
  EXPECT_TRUE(std::none_of(result.responses.begin(), result.responses.end(), has_draft));
  request.mutable_output()->set_stream_drafts(true);
  // This model may be quicker than the connection, and then drafts are left out.
  EXPECT_TRUE(TestServer::Eventually([&] {
    result = Generate(request);
    return std::any_of(result.responses.begin(), result.responses.end(), has_draft);
  }));
  for (const v1::GenerateResponse& response : result.responses) {
    if (!response.has_draft()) continue;
    EXPECT_EQ(response.draft().exit_layer(), 5u);
    EXPECT_GT(response.draft().token_ids_size(), 0);
    EXPECT_LE(response.draft().token_ids_size(), 4);
  }
}

TEST_F(GenerateCall, SamplesEndOneByOne) {
  v1::GenerateRequest request = GreedyRequest(10);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_num_samples(3);
  std::map<uint32_t, int> tokens;
  std::map<uint32_t, bool> finished;
  const StreamResult result = Generate(request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  for (const v1::GenerateResponse& response : result.responses) {
    EXPECT_FALSE(finished[response.sample_index()]) << "an event after Finished";
    tokens[response.sample_index()] += response.delta().token_ids_size();
    finished[response.sample_index()] = response.has_finished();
  }
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(finished[i]);
    EXPECT_EQ(tokens[i], 10);
  }
  EXPECT_EQ(Unary(request).samples_size(), 3);
}

TEST_F(GenerateCall, EchoesThePrompt) {
  v1::GenerateRequest request = GreedyRequest(5);
  const std::string answer = Generate(request).text;
  request.mutable_output()->set_echo(true);
  EXPECT_EQ(Generate(request).text, request.text() + answer);
}

TEST_F(GenerateCall, GivesLogprobsWhereAsked) {
  v1::GenerateRequest request = GreedyRequest(5);
  request.mutable_output()->set_logprobs(3);
  request.mutable_output()->set_prompt_logprobs(true);
  const v1::SampleResult sample = Unary(request).samples(0);
  ASSERT_EQ(sample.logprobs_size(), 5);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(sample.logprobs(i).token_id(), sample.token_ids(i));
    EXPECT_EQ(sample.logprobs(i).top_size(), 3);
    EXPECT_EQ(sample.logprobs(i).top(0).token_id(), sample.token_ids(i));
    EXPECT_TRUE(sample.logprobs(i).is_greedy());
  }
  EXPECT_EQ(sample.prompt_logprobs_size(), static_cast<int>(sample.started().prompt_tokens()) - 1);
}

TEST_F(GenerateCall, StopsAtAStopSequence) {
  const std::string text = Generate(GreedyRequest(20)).text;
  v1::GenerateRequest request = GreedyRequest(20);
  // Two characters from the middle on that are one byte each, wherever they first stand.
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  size_t at = text.size() / 2;
  while (at + 1 < text.size() && !(is_ascii(text[at]) && is_ascii(text[at + 1]))) ++at;
  const std::string stop = text.substr(at, 2);
  ASSERT_EQ(stop.size(), 2u) << text;
  request.mutable_stopping()->add_stop_sequences(stop);
  const StreamResult result = Generate(request);
  EXPECT_EQ(result.finished().reason(), v1::FINISH_REASON_STOP_SEQUENCE);
  EXPECT_EQ(result.finished().matched_stop(), stop);
  EXPECT_EQ(result.text, text.substr(0, text.find(stop)));
}

// A reader that does not read holds up nobody, and in the end has everything.
TEST_F(GenerateCall, ASlowReaderCostsOnlyItself) {
  v1::GenerateRequest request = GreedyRequest(450);
  // More than the connection takes without being read.
  request.mutable_output()->set_logprobs(20);
  request.mutable_sampling()->set_num_samples(8);
  request.mutable_speculation()->mutable_off();
  const auto stub = v1::Inference::NewStub(server_->NewChannel());
  grpc::ClientContext context;
  const auto reader = stub->Generate(&context, request);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));

  EXPECT_TRUE(Generate(GreedyRequest(20)).status.ok());
  EXPECT_TRUE(server_->BecomesIdle());  // the engine has finished the slow reader's request too

  int tokens = 0;
  int deltas = 0;
  while (reader->Read(&response)) {
    tokens += response.delta().token_ids_size();
    deltas += response.has_delta() ? 1 : 0;
    EXPECT_EQ(response.delta().logprobs_size(), response.delta().token_ids_size());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 8 * 450);
  EXPECT_LT(deltas, 8 * 450) << "nothing was coalesced";
  EXPECT_TRUE(response.has_finished());
}

TEST_F(GenerateCall, ScoresContinuations) {
  // The answer's own first token is what the model finds likeliest.
  const v1::SampleResult sample = Unary(GreedyRequest(3)).samples(0);
  v1::ScoreRequest request;
  request.set_text(GreedyRequest(3).text());
  *request.add_continuation_ids()->mutable_ids() = sample.token_ids();
  request.add_continuation_ids()->add_ids((sample.token_ids(0) + 1) % 1000);
  grpc::ClientContext context;
  v1::ScoreResponse response;
  const grpc::Status status = server_->inference().Score(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.scores_size(), 2);
  EXPECT_THAT(response.scores(0).is_greedy(), ::testing::ElementsAre(true, true, true));
  EXPECT_THAT(response.scores(1).is_greedy(), ::testing::ElementsAre(false));
  double total = 0;
  for (const float logprob : response.scores(0).logprobs()) total += logprob;
  EXPECT_DOUBLE_EQ(response.scores(0).total(), total);
  EXPECT_LT(response.scores(1).total(), response.scores(0).logprobs(0));
}

TEST_F(GenerateCall, TokenizesThereAndBack) {
  v1::TokenizeRequest request;
  request.set_text("for i in \u00e9\u4e2d\u6587:\n");
  grpc::ClientContext tokenize;
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(server_->inference().Tokenize(&tokenize, request, &tokens).ok());
  EXPECT_EQ(tokens.token_ids(0), 1500u);  // BOS
  EXPECT_EQ(tokens.pieces_size(), tokens.token_ids_size());
  v1::DetokenizeRequest back;
  *back.mutable_token_ids() = tokens.token_ids();
  grpc::ClientContext detokenize;
  v1::DetokenizeResponse text;
  ASSERT_TRUE(server_->inference().Detokenize(&detokenize, back, &text).ok());
  EXPECT_EQ(text.text(), request.text());
}

}  // namespace
}  // namespace strata::server
