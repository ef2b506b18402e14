// What the server offers beside Inference: model information, health,
// reflection, load reports, metrics; and how it ends.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <string>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/server/test_server.h"
#include "xds/service/orca/v3/orca.grpc.pb.h"

namespace strata::server {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

// The body of an HTTP GET, read to the end of the connection.
std::string HttpGet(int port, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string reply;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.1\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n = 0; (n = read(fd, buffer, sizeof(buffer))) > 0;) reply.append(buffer, n);
  }
  close(fd);
  return reply;
}

int PortOf(const std::string& address) { return std::stoi(address.substr(address.rfind(':') + 1)); }

TEST(Serving, DescribesTheModel) {
  TestServer server;
  grpc::ClientContext context;
  v1::ModelInfo info;
  ASSERT_TRUE(server.control().GetModelInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.num_layers(), 6u);
  EXPECT_EQ(info.vocab_size(), 1505u);
  EXPECT_EQ(info.max_context(), 512u);
  EXPECT_EQ(info.min_exit_layer(), 1u);
  EXPECT_EQ(info.max_exit_layer(), 5u);
  EXPECT_EQ(info.dtype(), "f32");
  EXPECT_THAT(info.eos_token_ids(), ::testing::ElementsAre(1501u, 1504u));
  EXPECT_EQ(info.bos_token_id(), 1500u);
  EXPECT_FALSE(info.has_license());
  EXPECT_FLOAT_EQ(info.defaults().sampling().temperature(), 0.6f);
  EXPECT_TRUE(info.defaults().speculation().has_auto_());
  EXPECT_FALSE(info.server_version().empty());
}

TEST(Serving, CarriesTheLicenceOnceAccepted) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(::testing::TempDir()) / "strata_licensed_model";
  fs::remove_all(folder);
  fs::copy(TestOptions().model, folder);
  std::ofstream(folder / "LICENSE") << "FAIR Noncommercial Research License\n";
  Options options = TestOptions();
  options.model = folder.string();
  ServerMetrics metrics;
  EXPECT_EQ(LoadEngine(options, &metrics).status().code(), absl::StatusCode::kFailedPrecondition);

  options.accepted_license = "fair-noncommercial-research";
  TestServer server(options);
  grpc::ClientContext info_context;
  v1::ModelInfo info;
  ASSERT_TRUE(server.control().GetModelInfo(&info_context, {}, &info).ok());
  EXPECT_EQ(info.license().id(), "fair-noncommercial-research");
  EXPECT_THAT(info.license().text(), HasSubstr("FAIR Noncommercial"));
  EXPECT_THAT(info.license().citation(), HasSubstr(info.name()));
  EXPECT_THAT(info.license().citation(), HasSubstr("arXiv:2404.16710"));

  grpc::ClientContext context;
  const auto reader = server.inference().Generate(&context, GreedyRequest(2));
  reader->WaitForInitialMetadata();
  const auto& metadata = context.GetServerInitialMetadata();
  const auto id = metadata.find("strata-model-license");
  ASSERT_NE(id, metadata.end());
  EXPECT_EQ(std::string(id->second.data(), id->second.size()), "fair-noncommercial-research");
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  fs::remove_all(folder);
}

TEST(Serving, AnswersHealthChecks) {
  TestServer server;
  const auto stub = Health::NewStub(server.channel());
  for (const char* service : {"", "strata.v1.Inference", "strata.v1.Control"}) {
    HealthCheckRequest request;
    request.set_service(service);
    grpc::ClientContext context;
    HealthCheckResponse response;
    ASSERT_TRUE(stub->Check(&context, request, &response).ok()) << service;
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  }
  HealthCheckRequest unknown;
  unknown.set_service("no.such.Service");
  grpc::ClientContext check;
  HealthCheckResponse response;
  EXPECT_EQ(stub->Check(&check, unknown, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  grpc::ClientContext watch;
  const auto reader = stub->Watch(&watch, unknown);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  watch.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(Serving, StreamsLoadReports) {
  TestServer server;
  const auto stub = xds::service::orca::v3::OpenRcaService::NewStub(server.channel());
  grpc::ClientContext context;
  const auto reader = stub->StreamCoreMetrics(&context, {});
  xds::data::orca::v3::OrcaLoadReport report;
  ASSERT_TRUE(reader->Read(&report));
  EXPECT_EQ(report.application_utilization(), 0);
  EXPECT_TRUE(report.named_metrics().contains("tokens_per_second"));
  ASSERT_TRUE(reader->Read(&report)) << "no second report";
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

Options OptionsWithMetrics() {
  Options options = TestOptions();
  options.metrics_listen = HostPort{"127.0.0.1", 0};
  return options;
}

TEST(Serving, ServesMetrics) {
  TestServer server(OptionsWithMetrics());
  ASSERT_TRUE(Stream(server.inference(), GreedyRequest(10)).status.ok());
  const std::string reply = HttpGet(PortOf(server.server().metrics_address()), "/metrics");
  for (const char* name :
       {"strata_spec_decode_num_draft_tokens_total", "strata_spec_decode_num_accepted_tokens_total",
        "strata_generated_tokens_total 10", "strata_time_to_first_token_seconds_count 1",
        "strata_inter_token_latency_seconds_bucket", "strata_queued_requests 0",
        "strata_running_requests", "strata_kv_blocks ", "strata_build_info{"}) {
    EXPECT_THAT(reply, HasSubstr(name));
  }
}

// One message to a streaming method, and the first that comes back, as bytes.
class RawStream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  RawStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
            const std::string& bytes)
      : stub_(channel), slice_(bytes), request_(&slice_, 1) {
    stub_.PrepareBidiStreamingCall(&context_, method, grpc::StubOptions(), this);
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&response_);
    StartCall();
  }
  void OnDone(const grpc::Status& status) override { done_.set_value(status); }

  std::string Wait() {
    const grpc::Status status = done_.get_future().get();
    EXPECT_TRUE(status.ok()) << status.error_message();
    grpc::Slice slice;
    EXPECT_TRUE(response_.DumpToSingleSlice(&slice).ok());
    return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }

 private:
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub_;
  grpc::ClientContext context_;
  grpc::Slice slice_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  std::promise<grpc::Status> done_;
};

// grpc.reflection.v1alpha.ServerReflectionRequest, by hand: the protocol's own
// descriptors are inside gRPC's library.
std::string Reflect(TestServer& server, char field, const std::string& value) {
  const std::string bytes =
      std::string(1, static_cast<char>(field << 3 | 2)) + static_cast<char>(value.size()) + value;
  return RawStream(server.channel(),
                   "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", bytes)
      .Wait();
}

TEST(Serving, DescribesItsServicesByReflection) {
  constexpr char kFileContainingSymbol = 4;
  constexpr char kListServices = 7;
  TestServer server;
  const std::string services = Reflect(server, kListServices, "");
  for (const char* service : {"strata.v1.Inference", "strata.v1.Control", "grpc.health.v1.Health",
                              "xds.service.orca.v3.OpenRcaService"}) {
    EXPECT_THAT(services, HasSubstr(service));
    EXPECT_THAT(Reflect(server, kFileContainingSymbol, service), HasSubstr("proto3")) << service;
  }
}

TEST(Ending, LetsRunningRequestsFinish) {
  TestServer server;
  const auto health = Health::NewStub(server.channel());
  grpc::ClientContext watch_context;
  const auto watch = health->Watch(&watch_context, HealthCheckRequest());
  HealthCheckResponse health_response;
  ASSERT_TRUE(watch->Read(&health_response));
  EXPECT_EQ(health_response.status(), HealthCheckResponse::SERVING);

  grpc::ClientContext context;
  const auto reader = server.inference().Generate(&context, GreedyRequest(300));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  auto drained = std::async(std::launch::async, [&] {
    return server.server().Drain(std::chrono::steady_clock::now() + std::chrono::seconds(30),
                                 [] { return false; });
  });
  ASSERT_TRUE(watch->Read(&health_response));
  EXPECT_EQ(health_response.status(), HealthCheckResponse::NOT_SERVING);
  while (reader->Read(&response)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(response.has_finished());
  EXPECT_TRUE(drained.get());
  EXPECT_EQ(Stream(server.inference(), GreedyRequest(1)).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST(Ending, RefusesNewRequestsAndCutsOffTheLastWhenHurried) {
  TestServer server;
  grpc::ClientContext context;
  v1::GenerateRequest request = GreedyRequest(500);
  request.mutable_sampling()->set_num_samples(16);
  const auto reader = server.inference().Generate(&context, request);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  std::atomic<bool> hurry = false;
  auto drained = std::async(std::launch::async, [&] {
    return server.server().Drain(std::chrono::steady_clock::now() + std::chrono::seconds(30),
                                 [&] { return hurry.load(); });
  });
  EXPECT_TRUE(TestServer::Eventually([&] {
    return Stream(server.inference(), GreedyRequest(1)).status.error_code() ==
           grpc::StatusCode::UNAVAILABLE;
  }));
  hurry = true;
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(drained.get());
}

TEST(Starting, SaysWhichPortItCannotOpen) {
  TestServer first;
  Options options = TestOptions();
  ServerMetrics metrics;
  auto engine = LoadEngine(options, &metrics);
  ASSERT_TRUE(engine.ok());
  options.listen.port = PortOf(first.server().grpc_address());
  const auto access = AccessControl::Open(options, &metrics);
  ASSERT_TRUE(access.ok());
  auto server = StrataServer::Start(options, access->get(), engine->get(), &metrics);
  EXPECT_THAT(std::string(server.status().message()),
              HasSubstr("--listen: cannot listen on " + options.listen.ToString()));
}

TEST(Starting, SaysWhichMetricsPortItCannotOpen) {
  TestServer first(OptionsWithMetrics());
  Options options = OptionsWithMetrics();
  ServerMetrics metrics;
  auto engine = LoadEngine(options, &metrics);
  ASSERT_TRUE(engine.ok());
  options.metrics_listen->port = PortOf(first.server().metrics_address());
  const auto access = AccessControl::Open(options, &metrics);
  ASSERT_TRUE(access.ok());
  auto server = StrataServer::Start(options, access->get(), engine->get(), &metrics);
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("--metrics-listen: cannot"));
}

}  // namespace
}  // namespace strata::server
