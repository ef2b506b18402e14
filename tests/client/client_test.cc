#include "client/client.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "tests/fakes/fake_inference_service.h"

namespace strata::client {
namespace {

v1::GenerateResponse TextResponse(const std::string& text) {
  v1::GenerateResponse response;
  response.mutable_delta()->set_text(text);
  return response;
}

TEST(Client, HandsOverEachEventInOrder) {
  FakeInferenceService service;
  service.responses = {TextResponse("a"), TextResponse("b")};
  Client client(service.address());
  std::string text;
  const absl::Status status =
      client.Generate({}, [&](const v1::GenerateResponse& r) { text += r.delta().text(); });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(text, "ab");
}

TEST(Client, PassesTheServersStatusOn) {
  FakeInferenceService service;
  service.status = grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "sampling.top_p: bad");
  Client client(service.address());
  EXPECT_EQ(client.Generate({}, [](const auto&) {}),
            absl::InvalidArgumentError("sampling.top_p: bad"));
  EXPECT_EQ(client.Tokenize({}).status(), absl::InvalidArgumentError("sampling.top_p: bad"));
}

TEST(Client, SaysWhenThereIsNoServer) {
  std::string address;
  {
    FakeInferenceService service;
    address = service.address();
  }
  Client client(address);
  EXPECT_TRUE(absl::IsUnavailable(client.Tokenize({}).status()));
}

TEST(Client, GivesUpAtItsDeadline) {
  FakeInferenceService service;
  service.hang = true;
  Client client(service.address());
  CallOptions options;
  options.timeout = std::chrono::milliseconds(50);
  EXPECT_TRUE(absl::IsDeadlineExceeded(client.Generate(
      {}, [](const auto&) {}, options)));
}

TEST(Client, CanBeCancelledFromAnotherThread) {
  FakeInferenceService service;
  service.hang = true;
  service.responses = {TextResponse("a")};
  Client client(service.address());
  Cancellation cancellation;
  CallOptions options;
  options.cancellation = &cancellation;
  std::thread canceller;
  const absl::Status status = client.Generate(
      {}, [&](const auto&) { canceller = std::thread([&] { cancellation.Cancel(); }); }, options);
  canceller.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  // And so is what begins later.
  EXPECT_TRUE(absl::IsCancelled(client.Generate(
      {}, [](const auto&) {}, options)));
}

}  // namespace
}  // namespace strata::client
