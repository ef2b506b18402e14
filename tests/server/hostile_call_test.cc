// Callers that ask too much, send nonsense or go away: each gets a clear
// status, and the next request works.

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/server/test_server.h"

namespace strata::server {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class HostileCall : public ::testing::Test {
 protected:
  void ExpectRefused(const v1::GenerateRequest& request, const std::string& message) {
    const grpc::Status status = Stream(server_.inference(), request).status;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(message));
    grpc::ClientContext context;
    v1::GenerateResult result;
    EXPECT_EQ(server_.inference().GenerateUnary(&context, request, &result).error_message(),
              status.error_message());
    ExpectServing();
  }

  void ExpectServing() {
    const grpc::Status status = Stream(server_.inference(), GreedyRequest(2)).status;
    EXPECT_TRUE(status.ok()) << status.error_message();
  }

  // That the engine ended a request before its time, instead of finishing it for nobody.
  void ExpectAborted() const {
    EXPECT_THAT(server_.Scrape(), ContainsRegex("strata_requests_aborted_total\\{[^}]*\\} [1-9]"));
    EXPECT_THAT(server_.Scrape(),
                Not(ContainsRegex("strata_samples_finished_total\\{[^}]*\\} [1-9]")));
  }

  TestServer server_;
};

TEST_F(HostileCall, GetsAClearStatus) {
  v1::GenerateRequest request = GreedyRequest(5);
  request.set_text(std::string(5 << 20, 'x'));
  ExpectRefused(request, "text: ");
  request.set_text(std::string(1 << 15, 'x') + " y");
  ExpectRefused(request, "context");
  request = GreedyRequest(5);
  for (int i = 0; i < 10'000; ++i) request.mutable_stopping()->add_stop_sequences("x");
  ExpectRefused(request, "stopping.stop_sequences: 10000 entries");
  request = GreedyRequest(5);
  request.mutable_sampling()->set_temperature(std::numeric_limits<float>::quiet_NaN());
  ExpectRefused(request, "sampling.temperature: nan");
  request = GreedyRequest(5);
  request.mutable_sampling()->set_top_p(2);
  ExpectRefused(request, "sampling.top_p: 2 is out of range (0, 1]");
  request = GreedyRequest(5);
  for (int i = 0; i < 10'000; ++i) {
    request.mutable_stopping()->add_stop_sequences(std::to_string(i));
  }
  ExpectRefused(request, "stopping.stop_sequences: 10000 entries");
  request = GreedyRequest(5);
  request.mutable_token_ids()->add_ids(1'000'000);
  ExpectRefused(request, "token_ids.ids[0]: no token id 1000000");
  request.clear_prompt();
  ExpectRefused(request, "prompt: required");
  request.set_text("");
  ExpectRefused(request, "text: must not be empty");
}

TEST_F(HostileCall, GetsTheFieldInTheDetails) {
  v1::GenerateRequest request = GreedyRequest(5);
  request.mutable_sampling()->set_top_p(2);
  const grpc::Status status = Stream(server_.inference(), request).status;
  google::rpc::Status details;
  google::rpc::BadRequest bad_request;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  ASSERT_TRUE(details.details(0).UnpackTo(&bad_request));
  EXPECT_EQ(bad_request.field_violations(0).field(), "sampling.top_p");
}

TEST_F(HostileCall, CannotSendAHugeMessage) {
  v1::GenerateRequest request = GreedyRequest(5);
  request.set_text(std::string(size_t{1} << 30, 'x'));
  const grpc::Status status = Stream(server_.inference(), request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ExpectServing();
}

TEST_F(HostileCall, CannotSendHugeMetadata) {
  // On a connection of its own, which gRPC may close for it.
  const auto stub = v1::Inference::NewStub(server_.NewChannel());
  grpc::ClientContext context;
  context.AddMetadata("x-large", std::string(200 << 10, 'x'));
  v1::GenerateResult result;
  EXPECT_FALSE(stub->GenerateUnary(&context, GreedyRequest(2), &result).ok());
  ExpectServing();
}

// A client whose protobuf does not check text, or no protobuf at all.
TEST_F(HostileCall, CannotSendInvalidUtf8OrGarbage) {
  for (const std::string bytes : {"\x0a\x02\xff\xfe", "\xff\xff\xff\xff"}) {
    grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub(server_.channel());
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::ClientContext context;
    std::promise<grpc::Status> done;
    stub.UnaryCall(&context, "/strata.v1.Inference/GenerateUnary", grpc::StubOptions(), &request,
                   &response, [&](grpc::Status status) { done.set_value(std::move(status)); });
    const grpc::Status status = done.get_future().get();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    ExpectServing();
  }
}

TEST_F(HostileCall, LeavesNothingBehindWhenCancelled) {
  grpc::ClientContext context;
  const auto reader = server_.inference().Generate(&context, GreedyRequest(480));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(server_.BecomesIdle());
  ExpectAborted();
}

TEST_F(HostileCall, LeavesNothingBehindWhenItsUnaryCallIsCancelled) {
  v1::GenerateRequest request = GreedyRequest(480);
  request.mutable_sampling()->set_num_samples(16);
  grpc::ClientContext context;
  std::thread canceller([&] {
    EXPECT_TRUE(TestServer::Eventually([&] { return server_.GetLoad().running_requests() > 0; }));
    context.TryCancel();
  });
  v1::GenerateResult result;
  EXPECT_EQ(server_.inference().GenerateUnary(&context, request, &result).error_code(),
            grpc::StatusCode::CANCELLED);
  canceller.join();
  EXPECT_TRUE(server_.BecomesIdle());
  ExpectAborted();
}

TEST_F(HostileCall, LeavesNothingBehindPastItsDeadline) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(60));
  v1::GenerateResult result;
  v1::GenerateRequest request = GreedyRequest(480);
  request.mutable_sampling()->set_num_samples(16);
  EXPECT_EQ(server_.inference().GenerateUnary(&context, request, &result).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(server_.BecomesIdle());
  ExpectAborted();
}

// Ends one stream in a way that `seed` chooses.
void RunAndLeave(const TestServer& server, uint32_t seed) {
  std::mt19937 random(seed);
  const auto stub = v1::Inference::NewStub(server.NewChannel());
  auto context = std::make_unique<grpc::ClientContext>();
  v1::GenerateRequest request = GreedyRequest(20 + static_cast<int>(random() % 200));
  request.mutable_sampling()->set_temperature(1);
  if (seed % 4 == 1) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::milliseconds(random() % 300));
  }
  const auto reader = stub->Generate(context.get(), request);
  v1::GenerateResponse response;
  const int reads = seed % 4 >= 2 ? static_cast<int>(random() % 30) : 1'000'000;
  for (int i = 0; i < reads && reader->Read(&response); ++i) {
  }
  if (seed % 4 == 2) context->TryCancel();
  // seed % 4 == 3: the context's end takes the call with it.
}

TEST_F(HostileCall, SixtyFourStreamsLeaveNothingBehind) {
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < 64; ++i) {
    threads.emplace_back([this, i] { RunAndLeave(server_, i); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(server_.BecomesIdle()) << server_.GetLoad().DebugString();
  ExpectServing();
}

TEST(BoundedServer, RefusesWhatDoesNotFitItsQueue) {
  Options options = TestOptions();
  options.engine.max_sequences = 1;
  options.engine.max_queue = 1;
  TestServer server(options);
  std::vector<std::thread> threads;
  std::atomic<int> ok = 0;
  std::atomic<int> refused = 0;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&] {
      const grpc::Status status = Stream(server.inference(), GreedyRequest(60)).status;
      ok += status.ok() ? 1 : 0;
      refused += status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ok + refused, 12);
  EXPECT_GT(ok, 0);
  EXPECT_GT(refused, 0);
}

// No write fails in a queued call, so only the cancellation itself can end it.
TEST(BoundedServer, DropsACancelledRequestFromItsQueue) {
  Options options = TestOptions();
  options.model = STRATA_SOURCE_DIR "/models/demo";  // takes seconds for its context
  options.engine.max_sequences = 1;
  TestServer server(options);
  grpc::ClientContext running_context;
  const auto running = server.inference().Generate(&running_context, GreedyRequest(2000));
  v1::GenerateResponse response;
  ASSERT_TRUE(running->Read(&response));
  grpc::ClientContext queued_context;
  const auto queued = server.inference().Generate(&queued_context, GreedyRequest(2000));
  EXPECT_TRUE(TestServer::Eventually([&] { return server.GetLoad().queued_requests() == 1; }));
  queued_context.TryCancel();
  EXPECT_EQ(queued->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(TestServer::Eventually([&] { return server.GetLoad().queued_requests() == 0; }));
  EXPECT_GT(server.GetLoad().running_requests(), 0u) << "it waited for its turn";
  running_context.TryCancel();
  while (running->Read(&response)) {
  }
  EXPECT_EQ(running->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(BoundedServer, RefusesMoreCallsThanItsLimit) {
  Options options = TestOptions();
  options.max_calls = 1;
  TestServer server(options);
  grpc::ClientContext context;
  const auto reader = server.inference().Generate(&context, GreedyRequest(480));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  const grpc::Status status = Stream(server.inference(), GreedyRequest(1)).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  reader->Finish();
  EXPECT_TRUE(TestServer::Eventually(
      [&] { return Stream(server.inference(), GreedyRequest(1)).status.ok(); }));
}

}  // namespace
}  // namespace strata::server
