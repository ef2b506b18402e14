// Tenants, named by a call's metadata.

#include "server/tenancy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/server/test_server.h"

namespace strata::server {
namespace {

using ::testing::HasSubstr;

Options WithTenants() {
  Options options = TestOptions();
  options.tenancy.metadata_key = "x-tenant";
  return options;
}

// A call with so many values of x-tenant.
grpc::Status Call(TestServer& server, const std::vector<std::string>& tenants,
                  v1::GenerateResult* result = nullptr, int max_new_tokens = 2) {
  grpc::ClientContext context;
  for (const std::string& tenant : tenants) context.AddMetadata("x-tenant", tenant);
  v1::GenerateResult ignored;
  return server.inference().GenerateUnary(&context, GreedyRequest(max_new_tokens),
                                          result != nullptr ? result : &ignored);
}

TEST(Tenancy, MetadataKeysAreThoseThatCarryText) {
  for (const char* key : {"", "x-tenant", "a.b_c-1"}) EXPECT_TRUE(CheckMetadataKey(key).ok());
  for (const char* key : {"X-Tenant", "tenant-bin", "grpc-tenant", "a b", "a:b"}) {
    EXPECT_THAT(std::string(CheckMetadataKey(key).message()), HasSubstr(key));
  }
}

TEST(Tenancy, ALimitIsOneTenants) {
  Options options = WithTenants();
  options.tenancy.defaults.max_tokens_per_minute = 5;
  TestServer server(options);
  EXPECT_TRUE(Call(server, {"one"}).ok());
  const grpc::Status refused = Call(server, {"one"});
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("tenant 'one'"));
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.ParseFromString(refused.error_details()));
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_GT(retry.retry_delay().seconds(), 10) << "as long as it takes to have tokens again";
  EXPECT_TRUE(Call(server, {"two"}).ok());
  EXPECT_TRUE(Call(server, {}).ok()) << "calls without a name are a tenant of their own";
  EXPECT_FALSE(Call(server, {}).ok());
}

TEST(Tenancy, WithoutAKeyAllCallsAreOneTenants) {
  Options options = TestOptions();
  options.tenancy.defaults.max_tokens_per_minute = 5;
  TestServer server(options);
  EXPECT_TRUE(Call(server, {"one"}).ok());
  EXPECT_FALSE(Call(server, {"two"}).ok());
}

TEST(Tenancy, StreamsAndScoresCountAsWell) {
  Options options = WithTenants();
  options.tenancy.defaults.max_tokens_per_minute = 5;
  TestServer server(options);
  const auto stream = [&](const std::string& tenant) {
    grpc::ClientContext context;
    context.AddMetadata("x-tenant", tenant);
    const auto reader = server.inference().Generate(&context, GreedyRequest(2));
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
    }
    return reader->Finish();
  };
  const auto score = [&](const std::string& tenant) {
    grpc::ClientContext context;
    context.AddMetadata("x-tenant", tenant);
    v1::ScoreRequest request;
    request.set_text("def f(x):");
    request.add_continuations(" return x");
    v1::ScoreResponse response;
    return server.inference().Score(&context, request, &response);
  };
  EXPECT_TRUE(stream("one").ok());
  EXPECT_EQ(score("one").error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(score("two").ok());
  EXPECT_EQ(stream("two").error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(Tenancy, TenantsMayKeepTheirPrefixesApart) {
  Options options = WithTenants();
  options.tenancy.defaults.isolates_prefixes = true;
  TestServer server(options);
  const auto cached = [&](const std::string& tenant) {
    v1::GenerateResult result;
    EXPECT_TRUE(Call(server, {tenant}, &result, 60).ok());
    // The answer is part of what is cached; the prompt alone has less than a block.
    grpc::ClientContext context;
    context.AddMetadata("x-tenant", tenant);
    v1::GenerateRequest request = GreedyRequest(1);
    for (const uint32_t id : result.samples(0).token_ids()) {
      request.mutable_token_ids()->add_ids(id);
    }
    EXPECT_TRUE(server.inference().GenerateUnary(&context, request, &result).ok());
    return result.samples(0).started().cached_prompt_tokens();
  };
  EXPECT_EQ(cached("one"), 0u);
  EXPECT_EQ(cached("two"), 0u) << "it is one's";
  EXPECT_GT(cached("two"), 0u);
}

TEST(Tenancy, NamesAreOneAndShort) {
  TestServer server(WithTenants());
  EXPECT_TRUE(Call(server, {std::string(128, 'n')}).ok());
  const grpc::Status long_name = Call(server, {std::string(129, 'n')});
  EXPECT_EQ(long_name.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(long_name.error_message(), HasSubstr("x-tenant"));
  EXPECT_EQ(Call(server, {"a", "b"}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace strata::server
