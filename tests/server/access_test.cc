// Who may call what, over loopback: tokens, their revocation, acknowledgement of the licence, the
// audit log, services turned off, and what is never logged.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/server/captured_log.h"
#include "tests/server/test_server.h"
#include "xds/service/orca/v3/orca.grpc.pb.h"

namespace strata::server {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Hex(const TokenHash& hash) { return fmt::format("{:02x}", fmt::join(hash, "")); }

class Access : public ::testing::Test {
 protected:
  Access()
      : folder_(fs::path(::testing::TempDir()) / ("strata_access_" + std::to_string(getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    options_.access.credentials = (folder_ / "credentials.toml").string();
    WriteCredentials({"secret"});
  }
  ~Access() override { fs::remove_all(folder_); }

  // One tenant, "lab", with these tokens, of which `more` is said.
  void WriteCredentials(const std::vector<std::string>& tokens, const std::string& more = "") {
    std::string text = "[[tenant]]\nname = \"lab\"\n" + more;
    for (const std::string& token : tokens) {
      text += fmt::format("[[tenant.token]]\nname = \"t-{}\"\nsha256 = \"{}\"\n", token,
                          Hex(HashToken(token)));
    }
    std::ofstream(options_.access.credentials) << text;
  }

  // A checkpoint folder with a licence that allows noncommercial use only.
  void UseNoncommercialModel() {
    const fs::path model = folder_ / "model";
    fs::copy(options_.model, model);
    std::ofstream(model / "LICENSE") << "FAIR Noncommercial Research License\n";
    options_.model = model.string();
    options_.accepted_license = "fair-noncommercial-research";
  }

  std::vector<nlohmann::json> AuditLines() const {
    std::vector<nlohmann::json> lines;
    std::ifstream file(options_.audit_log);
    for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  const fs::path folder_;
  Options options_ = TestOptions();
};

void AddToken(grpc::ClientContext* context, const std::string& token) {
  context->AddMetadata("authorization", "Bearer " + token);
}

grpc::Status Generate(TestServer& server, const std::string& token) {
  grpc::ClientContext context;
  if (!token.empty()) AddToken(&context, token);
  v1::GenerateResult result;
  return server.inference().GenerateUnary(&context, GreedyRequest(2), &result);
}

// A call of any method, without a message of use; its status.
class RawCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method)
      : stub_(channel), request_(&slice_, 1) {
    stub_.PrepareBidiStreamingCall(&context_, method, grpc::StubOptions(), this);
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (ok) context_.TryCancel();  // it was let in, and may stream for ever
  }
  void OnDone(const grpc::Status& status) override { done_.set_value(status); }
  grpc::Status Wait() { return done_.get_future().get(); }

 private:
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub_;
  grpc::ClientContext context_;
  grpc::Slice slice_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  std::promise<grpc::Status> done_;
};

// Full names of all methods that the server offers, but for reflection's.
std::vector<std::string> AllMethods() {
  std::vector<std::string> names;
  for (const char* service : {"strata.v1.Inference", "strata.v1.Control", "grpc.health.v1.Health",
                              "xds.service.orca.v3.OpenRcaService"}) {
    const auto* descriptor =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
    for (int i = 0; i < descriptor->method_count(); ++i) {
      names.push_back(fmt::format("/{}/{}", service, descriptor->method(i)->name()));
    }
  }
  return names;
}

TEST_F(Access, EveryMethodAsksForAToken) {
  options_.access.open_methods.clear();
  TestServer server(options_);
  const std::vector<std::string> methods = AllMethods();
  EXPECT_EQ(methods.size(), 11u);
  for (const std::string& method : methods) {
    const grpc::Status status = RawCall(server.channel(), method).Wait();
    EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED) << method;
    EXPECT_THAT(status.error_message(), HasSubstr("asks for a token")) << method;
  }
}

TEST_F(Access, HealthIsOpenUnlessToldOtherwise) {
  TestServer server(options_);
  for (const std::string& method : AllMethods()) {
    const grpc::Status status = RawCall(server.channel(), method).Wait();
    const bool refused = status.error_code() == StatusCode::UNAUTHENTICATED;
    EXPECT_EQ(refused, method.find("grpc.health") == method.npos) << method;
  }
}

TEST_F(Access, ATokenLetsIn) {
  TestServer server(options_);
  EXPECT_TRUE(Generate(server, "secret").ok());
  EXPECT_THAT(Generate(server, "Secret").error_message(), HasSubstr("does not know the token"));
  EXPECT_EQ(Generate(server, "Secret").error_code(), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Generate(server, "").error_code(), StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(server.BecomesIdle("secret"));
}

TEST_F(Access, TwoTokensAreNone) {
  TestServer server(options_);
  grpc::ClientContext context;
  AddToken(&context, "secret");
  AddToken(&context, "secret");
  v1::GenerateResult result;
  EXPECT_EQ(server.inference().GenerateUnary(&context, GreedyRequest(2), &result).error_code(),
            StatusCode::UNAUTHENTICATED);
}

TEST_F(Access, ATenantHasItsOwnLimits) {
  WriteCredentials({"limited"}, "max_running = 1\nmax_queued = 1\n");
  std::ofstream(options_.access.credentials, std::ios::app)
      << "[[tenant]]\nname = \"other\"\n[[tenant.token]]\nname = \"n\"\nsha256 = \"" +
             Hex(HashToken("free")) + "\"\n";
  TestServer server(options_);
  grpc::ClientContext context;
  AddToken(&context, "limited");
  v1::GenerateRequest request = GreedyRequest(400);
  request.mutable_sampling()->set_num_samples(2);  // one runs, one waits
  const auto reader = server.inference().Generate(&context, request);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(Generate(server, "limited").error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Generate(server, "free").ok());
  context.TryCancel();
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(Access, ARevokedTokenEndsRunningCalls) {
  options_.access.open_methods.clear();
  WriteCredentials({"revoked", "kept"});
  TestServer server(options_);

  struct Running {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
  };
  // Long enough not to end by themselves.
  v1::GenerateRequest request = GreedyRequest(490);
  request.mutable_sampling()->set_num_samples(16);
  std::map<std::string, Running> running;
  for (const char* token : {"revoked", "kept"}) {
    Running& call = running[token];
    AddToken(&call.context, token);
    call.reader = server.inference().Generate(&call.context, request);
    v1::GenerateResponse response;
    ASSERT_TRUE(call.reader->Read(&response)) << token;
  }
  auto unary = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    AddToken(&context, "revoked");
    v1::GenerateResult result;
    return server.inference().GenerateUnary(&context, request, &result);
  });
  grpc::ClientContext watch_context;
  AddToken(&watch_context, "revoked");
  const auto health = grpc::health::v1::Health::NewStub(server.channel());
  const auto watch = health->Watch(&watch_context, {});
  grpc::health::v1::HealthCheckResponse health_response;
  ASSERT_TRUE(watch->Read(&health_response));
  grpc::ClientContext orca_context;
  AddToken(&orca_context, "revoked");
  const auto orca = xds::service::orca::v3::OpenRcaService::NewStub(server.channel());
  const auto reports = orca->StreamCoreMetrics(&orca_context, {});
  xds::data::orca::v3::OrcaLoadReport report;
  ASSERT_TRUE(reports->Read(&report));
  ASSERT_TRUE(
      TestServer::Eventually([&] { return server.GetLoad("kept").running_requests() == 48; }));

  WriteCredentials({"kept"});
  server.access().Reload();
  const auto expect_revoked = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED) << status.error_message();
    EXPECT_EQ(status.error_message(), "the token has been revoked");
  };
  v1::GenerateResponse response;
  while (running["revoked"].reader->Read(&response)) {
    EXPECT_FALSE(response.has_finished());
  }
  expect_revoked(running["revoked"].reader->Finish());
  expect_revoked(unary.get());
  while (watch->Read(&health_response)) {
  }
  expect_revoked(watch->Finish());
  while (reports->Read(&report)) {
  }
  expect_revoked(reports->Finish());
  while (running["kept"].reader->Read(&response)) {
  }
  EXPECT_TRUE(running["kept"].reader->Finish().ok());
  EXPECT_TRUE(server.BecomesIdle("kept"));
}

TEST_F(Access, AFileThatChangesIsReadByItself) {
  TestServer server(options_);
  EXPECT_FALSE(Generate(server, "new").ok());
  WriteCredentials({"new"});
  EXPECT_TRUE(TestServer::Eventually([&] { return Generate(server, "new").ok(); }));
  EXPECT_EQ(Generate(server, "secret").error_code(), StatusCode::UNAUTHENTICATED);
}

TEST_F(Access, ABrokenFileChangesNothing) {
  TestServer server(options_);
  std::ofstream(options_.access.credentials) << "[[tenant]]\nnam = \"lab\"\n";
  server.access().Reload();
  EXPECT_TRUE(Generate(server, "secret").ok());
  fs::remove(options_.access.credentials);
  server.access().Reload();
  EXPECT_TRUE(Generate(server, "secret").ok());
  EXPECT_THAT(server.Scrape(), HasSubstr("strata_reload_failures_total{what=\"credentials\"} 2"));
}

TEST_F(Access, NoncommercialModelsAreForTenantsWhoAcknowledgeIt) {
  UseNoncommercialModel();
  TestServer server(options_);
  const grpc::Status denied = Generate(server, "secret");
  EXPECT_EQ(denied.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(denied.error_message(),
              AllOf(HasSubstr("'fair-noncommercial-research'"), HasSubstr("tenant 'lab'"),
                    HasSubstr("noncommercial_use_acknowledged = true")));
  // The licence can be read before it is acknowledged.
  grpc::ClientContext context;
  AddToken(&context, "secret");
  v1::ModelInfo info;
  EXPECT_TRUE(server.control().GetModelInfo(&context, {}, &info).ok());
  EXPECT_THAT(info.license().text(), HasSubstr("FAIR Noncommercial"));

  WriteCredentials({"secret"}, "noncommercial_use_acknowledged = true\n");
  server.access().Reload();
  EXPECT_TRUE(Generate(server, "secret").ok());
}

TEST_F(Access, OpenMethodsAcknowledgeNothing) {
  UseNoncommercialModel();
  options_.access.open_methods = {"strata.v1.Inference"};
  TestServer server(options_);
  const grpc::Status denied = Generate(server, "");
  EXPECT_EQ(denied.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(denied.error_message(), HasSubstr("a caller without a token"));
}

TEST_F(Access, AnOperatorWithoutTenantsAcceptsForAll) {
  UseNoncommercialModel();
  options_.access.credentials.clear();
  TestServer server(options_);
  EXPECT_TRUE(Generate(server, "").ok());
}

TEST_F(Access, TheAuditLogSaysWhoUsedWhat) {
  UseNoncommercialModel();
  WriteCredentials({"secret"}, "noncommercial_use_acknowledged = true\n");
  options_.audit_log = (folder_ / "audit.jsonl").string();
  TestServer server(options_);
  EXPECT_TRUE(Generate(server, "secret").ok());
  {
    grpc::ClientContext context;
    AddToken(&context, "secret");
    v1::GenerateRequest request = GreedyRequest(490);
    request.set_request_id("mine");
    const auto reader = server.inference().Generate(&context, request);
    v1::GenerateResponse response;
    while (reader->Read(&response) && !response.has_delta()) {
    }
    context.TryCancel();
    EXPECT_FALSE(reader->Finish().ok());
  }
  EXPECT_FALSE(Generate(server, "wrong").ok());  // used nothing
  ASSERT_TRUE(TestServer::Eventually([&] { return AuditLines().size() == 2; }));
  const nlohmann::json whole = AuditLines()[0];
  EXPECT_EQ(whole["method"], "GenerateUnary");
  EXPECT_EQ(whole["tenant"], "lab");
  EXPECT_EQ(whole["token"], "t-secret");
  EXPECT_EQ(whole["code"], "OK");
  EXPECT_EQ(whole["generated_tokens"], 2);
  EXPECT_GT(whole["prompt_tokens"], 0);
  EXPECT_EQ(whole["license"], "fair-noncommercial-research");
  EXPECT_EQ(whole["accepted_by"], "tenant");
  EXPECT_THAT(whole["request_id"], HasSubstr("req-"));
  const nlohmann::json cancelled = AuditLines()[1];
  EXPECT_EQ(cancelled["request_id"], "mine");
  EXPECT_EQ(cancelled["code"], "CANCELLED");
  EXPECT_GT(cancelled["generated_tokens"], 0);  // what was used is counted
  EXPECT_LT(cancelled["generated_tokens"], 490);
}

TEST_F(Access, AFullDiskStopsNobody) {
  options_.audit_log = "/dev/full";
  TestServer server(options_);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Generate(server, "secret").ok());
  EXPECT_TRUE(TestServer::Eventually([&] {
    return server.Scrape().find("strata_audit_lines_lost_total 3") != std::string::npos;
  }));
}

TEST_F(Access, ServicesCanBeTurnedOff) {
  const std::string kReflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  const auto code = [](TestServer& server, const std::string& method) {
    return RawCall(server.channel(), method).Wait().error_code();
  };
  {
    // Whoever asks for tokens does not describe itself to everybody.
    TestServer server(options_);
    EXPECT_EQ(code(server, kReflection), StatusCode::UNIMPLEMENTED);
  }
  options_.access.credentials.clear();
  {
    TestServer server(options_);
    EXPECT_NE(code(server, kReflection), StatusCode::UNIMPLEMENTED);
    EXPECT_NE(code(server, "/strata.v1.Control/GetLoad"), StatusCode::UNIMPLEMENTED);
  }
  options_.access.reflection = false;
  options_.access.control = false;
  TestServer server(options_);
  EXPECT_EQ(code(server, kReflection), StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(code(server, "/strata.v1.Control/GetLoad"), StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(Generate(server, "").ok());
}

TEST_F(Access, PromptsAndAnswersAreLoggedOnlyIfAskedFor) {
  for (const bool log_prompts : {false, true}) {
    CapturedLog log(LogFormat::kJson);
    options_.log_prompts = log_prompts;
    std::string answer;
    {
      TestServer server(options_);
      v1::GenerateRequest request = GreedyRequest(8);
      request.set_text("the secret ingredient");
      request.set_request_id("some-id");
      grpc::ClientContext context;
      AddToken(&context, "secret");
      v1::GenerateResult result;
      ASSERT_TRUE(server.inference().GenerateUnary(&context, request, &result).ok());
      answer = result.samples(0).text();
      request.mutable_sampling()->set_top_p(7);  // refused
      EXPECT_FALSE(Stream(server.inference(), request).status.ok());
    }
    ASSERT_FALSE(answer.empty());
    if (log_prompts) {
      ASSERT_EQ(log.Find("prompt").size(), 1u);  // of the one that was not refused
      EXPECT_EQ(log.Find("prompt")[0]["request_id"], "some-id");
      EXPECT_EQ(log.Find("prompt")[0]["prompt"], "the secret ingredient");
      ASSERT_EQ(log.Find("answer").size(), 1u);
      EXPECT_EQ(log.Find("answer")[0]["request_id"], "some-id");
      EXPECT_EQ(log.Find("answer")[0]["answer"], answer);
    } else {
      const std::string quoted =
          nlohmann::json(answer).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      EXPECT_THAT(log.text(), Not(HasSubstr("ingredient")));
      EXPECT_THAT(log.text(), Not(HasSubstr(quoted)));
    }
    EXPECT_EQ(log.Find("request").size(), 2u);
    EXPECT_THAT(log.text(), Not(HasSubstr("Bearer secret")));
  }
}

}  // namespace
}  // namespace strata::server
