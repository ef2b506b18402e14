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

TEST(Client, SendsItsToken) {
  FakeInferenceService service;
  ConnectOptions options;
  options.address = service.address();
  options.token = "a-token";
  ASSERT_TRUE(Validate(options).ok());
  Client client(options);
  EXPECT_TRUE(client.Generate({}, [](const auto&) {}).ok());
  EXPECT_EQ(service.last_authorization(), "Bearer a-token");
  Client nobody(service.address());
  EXPECT_TRUE(nobody.Generate({}, [](const auto&) {}).ok());
  EXPECT_EQ(service.last_authorization(), "");
}

TEST(ConnectOptions, DoNotGiveATokenAway) {
  ConnectOptions options;
  options.token = "a-token";
  for (const char* address : {"127.0.0.1:1", "127.1.2.3:1", "localhost:1", "[::1]:1"}) {
    options.address = address;
    EXPECT_TRUE(Validate(options).ok()) << address;
  }
  for (const char* address : {"192.0.2.1:1", "lab.example:1", "localhost.example:1", "[2001::1]:1",
                              "dns:///127.0.0.1:1"}) {
    options.address = address;
    options.tls = false;
    EXPECT_TRUE(absl::IsInvalidArgument(Validate(options))) << address;
    options.tls = true;
    EXPECT_TRUE(Validate(options).ok()) << address;
  }
}

TEST(ConnectOptions, AreCheckedAgainstEachOther) {
  ConnectOptions options;
  options.address = "127.0.0.1:1";
  options.ca_certificates = "pem";
  EXPECT_TRUE(absl::IsInvalidArgument(Validate(options)));  // without TLS
  options.tls = true;
  EXPECT_TRUE(Validate(options).ok());
  options.certificate = "pem";
  EXPECT_TRUE(absl::IsInvalidArgument(Validate(options)));  // without its key
  options.private_key = "pem";
  EXPECT_TRUE(Validate(options).ok());
  for (const char* token : {"two words", "a\nb", "caf\xc3\xa9"}) {
    options.token = token;
    EXPECT_TRUE(absl::IsInvalidArgument(Validate(options))) << token;
  }
}

}  // namespace
}  // namespace strata::client
