#include "server/status_mapping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "engine/admission.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/call_tracker.h"

namespace strata::server {
namespace {

// The first detail of type T; an empty T if there is none.
template <typename T>
T Detail(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), status.error_code());
  EXPECT_EQ(details.message(), status.error_message());
  T found;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&found)) break;
  }
  return found;
}

TEST(StatusMapping, OkIsOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok()); }

TEST(StatusMapping, NamesTheFieldOfABadRequest) {
  const grpc::Status status = ToGrpcStatus(FieldError("stopping.stop_sequences[3]", "is bad: x"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "stopping.stop_sequences[3]: is bad: x");
  const auto bad_request = Detail<google::rpc::BadRequest>(status);
  ASSERT_EQ(bad_request.field_violations_size(), 1);
  EXPECT_EQ(bad_request.field_violations(0).field(), "stopping.stop_sequences[3]");
  EXPECT_EQ(bad_request.field_violations(0).description(), "is bad: x");
}

TEST(StatusMapping, ProseIsNoFieldPath) {
  for (const char* message : {"No such thing: x", "two words: x", "no colon", ": x", ""}) {
    const grpc::Status status = ToGrpcStatus(absl::InvalidArgumentError(message));
    EXPECT_EQ(Detail<google::rpc::BadRequest>(status).field_violations_size(), 0) << message;
  }
}

TEST(StatusMapping, APromptTooLongIsABadRequest) {
  const grpc::Status status = ToGrpcStatus(absl::OutOfRangeError("prompt: too long"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Detail<google::rpc::BadRequest>(status).field_violations(0).field(), "prompt");
}

TEST(StatusMapping, SaysWhenToRetryAFullQueue) {
  const grpc::Status status =
      ToGrpcStatus(absl::ResourceExhaustedError("the queue is full"), std::chrono::seconds(7));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Detail<google::rpc::RetryInfo>(status).retry_delay().seconds(), 7);
  EXPECT_EQ(Detail<google::rpc::ErrorInfo>(status).reason(), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(Detail<google::rpc::ErrorInfo>(status).domain(), "strata");
}

TEST(RetryDelay, IsTheTimeInWhichHalfOfTheCallsEnd) {
  using std::chrono::seconds;
  EXPECT_EQ(RetryDelayFor(100, 10), seconds(5));
  EXPECT_EQ(RetryDelayFor(101, 10), seconds(6));
  EXPECT_EQ(RetryDelayFor(1, 1000), seconds(1));
  EXPECT_EQ(RetryDelayFor(1000, 0.1), seconds(30));
  EXPECT_EQ(RetryDelayFor(1, 0), seconds(30));
}

TEST(StatusMapping, SaysWhenToRetryIfTheEngineKnows) {
  const grpc::Status status = ToGrpcStatus(WithRetryDelay(
      absl::ResourceExhaustedError("too many tokens"), std::chrono::milliseconds(41'001)));
  EXPECT_EQ(Detail<google::rpc::RetryInfo>(status).retry_delay().seconds(), 42);
}

TEST(StatusMapping, KeepsOtherCodes) {
  for (const absl::StatusCode code :
       {absl::StatusCode::kCancelled, absl::StatusCode::kDeadlineExceeded,
        absl::StatusCode::kUnavailable, absl::StatusCode::kInternal}) {
    const grpc::Status status = ToGrpcStatus(absl::Status(code, "why"));
    EXPECT_EQ(static_cast<int>(status.error_code()), static_cast<int>(code));
    EXPECT_EQ(CodeName(status.error_code()), absl::StatusCodeToString(code));
  }
}

}  // namespace
}  // namespace strata::server
