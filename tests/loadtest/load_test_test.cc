// Whole load tests, of a server that answers what it was told to.

#include "loadtest/generator/load_test.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "strata/v1/control.grpc.pb.h"
#include "tests/fakes/fake_inference_service.h"

namespace strata::loadtest {
namespace {

class FakeControlService final : public v1::Control::Service {
 public:
  grpc::Status GetModelInfo(grpc::ServerContext*, const v1::GetModelInfoRequest*,
                            v1::ModelInfo* info) override {
    info->set_name("fake");
    info->set_vocab_size(100);
    return grpc::Status::OK;
  }
};

class LoadTest : public testing::Test {
 protected:
  LoadTest() : service_(&control_) {
    v1::GenerateResponse started, delta, finished;
    started.mutable_started()->set_prompt_tokens(5);
    started.mutable_started()->set_cached_prompt_tokens(4);
    delta.mutable_delta()->add_token_ids(1);
    delta.mutable_delta()->add_token_ids(2);
    finished.mutable_finished()->mutable_speculation()->set_drafted_tokens(4);
    finished.mutable_finished()->mutable_speculation()->set_accepted_tokens(3);
    service_.responses = {started, delta, delta, finished};
    options_.server.address = service_.address();
    options_.quiet = true;
    options_.load.max_calls = 20;
    options_.load.duration_s = 30;
    MixEntry entry;
    entry.request.set_text("x");
    options_.mix = {entry};
  }

  // Of a closed loop, unless the options say otherwise.
  Summary Run() {
    if (options_.rates.empty() && options_.trace.empty()) options_.concurrencies = {3};
    const auto report = RunLoadTest(options_, stop_);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? report->runs.at(0).summary : Summary();
  }

  FakeControlService control_;
  FakeInferenceService service_;
  Options options_;
  std::atomic<bool> stop_ = false;
};

TEST_F(LoadTest, CountsWhatWasStreamed) {
  const Summary summary = Run();
  EXPECT_EQ(summary.succeeded, 20);
  EXPECT_EQ(summary.tokens, 80);
  EXPECT_EQ(summary.prompt_tokens, 100);
  EXPECT_EQ(summary.cached_prompt_tokens, 80);
  EXPECT_DOUBLE_EQ(summary.acceptance_rate(), 0.75);
  EXPECT_EQ(summary.ttft_s.count(), 20);
  EXPECT_EQ(summary.itl_s.count(), 20);  // two deltas a call
  EXPECT_LT(summary.seconds, 30);        // it ended with its calls
}

TEST_F(LoadTest, AnOpenLoopSendsWhatIsDue) {
  options_.rates = {200};
  const Summary summary = Run();
  EXPECT_EQ(summary.succeeded, 20);
}

TEST_F(LoadTest, AnOpenLoopDoesNotWaitForAnswers) {
  service_.hang = true;
  options_.rates = {500};
  options_.load.max_in_flight = 8;
  options_.load.call.timeout = std::chrono::milliseconds(1500);
  const Summary summary = Run();
  EXPECT_EQ(summary.calls, 20);
  EXPECT_EQ(summary.succeeded, 0);
  EXPECT_GT(summary.not_sent, 0);
  EXPECT_EQ(summary.failures.at("DEADLINE_EXCEEDED") + summary.not_sent, 20);
}

TEST_F(LoadTest, CountsRefusals) {
  service_.responses.clear();
  service_.status = grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full");
  const Summary summary = Run();
  EXPECT_EQ(summary.failures.at("RESOURCE_EXHAUSTED"), 20);
  EXPECT_EQ(summary.first_error.at("RESOURCE_EXHAUSTED"), "the queue is full");
}

TEST_F(LoadTest, CancelsHalfway) {
  service_.hang = true;  // only a cancel ends a call
  options_.mix[0].cancel_share = 1;
  options_.mix[0].max_new_tokens = {4, 4};
  const Summary summary = Run();
  EXPECT_EQ(summary.succeeded, 20);
  EXPECT_EQ(summary.cancelled, 20);
}

TEST_F(LoadTest, StopsWithWhatItHas) {
  stop_ = true;
  options_.concurrencies = {1, 2};
  const auto report = RunLoadTest(options_, stop_);
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->runs.empty());
}

TEST_F(LoadTest, SaysThatThereIsNoServer) {
  options_.server.address = "127.0.0.1:1";
  options_.concurrencies = {1};
  const auto report = RunLoadTest(options_, stop_);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace strata::loadtest
