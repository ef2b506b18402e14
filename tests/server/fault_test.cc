// What must not hurt others: a stuck engine is noticed; clients that are killed, or fall silent, or
// come by the thousand, leave nothing behind.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <latch>
#include <memory>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/fakes/stalling_backend.h"
#include "tests/server/test_server.h"

namespace strata::server {
namespace {

using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

// ---- A stuck engine ---------------------------------------------------------

class StuckEngine : public ::testing::Test {
 protected:
  StuckEngine() {
    options_.watchdog.timeout = std::chrono::milliseconds(200);
    options_.engine.max_sequences = 4;
  }

  std::unique_ptr<Engine> MakeEngine() {
    kernels::CpuBackendOptions cpu;
    cpu.weights = kernels::WeightFormat::kF32;
    cpu.num_threads = 1;
    auto checkpoint = Checkpoint::Open(options_.model).value();
    auto tokenizer = Tokenizer::Open(options_.model, checkpoint->config().vocab_size).value();
    return Engine::Create(
               std::move(checkpoint), std::move(tokenizer),
               std::make_unique<StallingBackend>(kernels::CreateCpuBackend(cpu), &stall_),
               options_.engine, nullptr, nullptr)
        .value();
  }

  static HealthCheckResponse::ServingStatus Next(grpc::ClientReader<HealthCheckResponse>* watch) {
    HealthCheckResponse response;
    EXPECT_TRUE(watch->Read(&response));
    return response.status();
  }

  Stall stall_;
  Options options_ = TestOptions();
};

TEST_F(StuckEngine, IsSeenByHealthUntilItMovesAgain) {
  TestServer server(options_, MakeEngine());
  const auto health = grpc::health::v1::Health::NewStub(server.channel());
  grpc::ClientContext watch_context;
  const auto watch = health->Watch(&watch_context, {});
  EXPECT_EQ(Next(watch.get()), HealthCheckResponse::SERVING);
  EXPECT_TRUE(Stream(server.inference(), GreedyRequest(5)).status.ok());

  stall_.Set(true);
  grpc::ClientContext context;
  const auto reader = server.inference().Generate(&context, GreedyRequest(5));
  EXPECT_EQ(Next(watch.get()), HealthCheckResponse::NOT_SERVING);
  EXPECT_THAT(server.Scrape(), HasSubstr("strata_engine_stuck 1"));

  stall_.Set(false);
  EXPECT_EQ(Next(watch.get()), HealthCheckResponse::SERVING);
  EXPECT_THAT(server.Scrape(), HasSubstr("strata_engine_stuck 0"));
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(server.BecomesIdle());
}

TEST_F(StuckEngine, EndsTheProcessOnlyIfToldTo) {
  for (const bool told : {false, true}) {
    options_.watchdog.exit = told;
    std::atomic<int> num_exits = 0;
    StrataServer::Hooks hooks;
    hooks.on_stuck = [&] { ++num_exits; };
    TestServer server(options_, MakeEngine(), hooks);
    stall_.Set(true);
    grpc::ClientContext context;
    const auto reader = server.inference().Generate(&context, GreedyRequest(5));
    EXPECT_TRUE(TestServer::Eventually(
        [&] { return server.Scrape().find("strata_engine_stuck 1") != std::string::npos; }));
    EXPECT_TRUE(TestServer::Eventually([&] { return num_exits == (told ? 1 : 0); }));
    stall_.Set(false);
    EXPECT_TRUE(TestServer::Eventually(
        [&] { return server.Scrape().find("strata_engine_stuck 0") != std::string::npos; }));
    EXPECT_EQ(num_exits, told ? 1 : 0);
    context.TryCancel();
    reader->Finish();
  }
}

TEST_F(StuckEngine, PingsStopAsLongAsItIsStuck) {
  std::atomic<int> num_pings = 0;
  StrataServer::Hooks hooks;
  hooks.on_alive = [&] { ++num_pings; };
  TestServer server(options_, MakeEngine(), hooks);
  EXPECT_TRUE(TestServer::Eventually([&] { return num_pings > 3; }));
  stall_.Set(true);
  grpc::ClientContext context;
  const auto reader = server.inference().Generate(&context, GreedyRequest(5));
  EXPECT_TRUE(TestServer::Eventually(
      [&] { return server.Scrape().find("strata_engine_stuck 1") != std::string::npos; }));
  const int before = num_pings;
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LE(num_pings, before + 1);  // one may have been under way
  stall_.Set(false);
  EXPECT_TRUE(TestServer::Eventually([&] { return num_pings > before + 3; }));
  context.TryCancel();
  reader->Finish();
}

// ---- Clients ----------------------------------------------------------------

// A process of stream_holder.cc, whose streams have all begun.
class StreamHolder {
 public:
  StreamHolder(const std::string& address, int num_streams, int num_samples = 1) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    std::string number = std::to_string(num_streams);
    std::string samples = std::to_string(num_samples);
    std::string target = address;
    std::string program = STREAM_HOLDER_BINARY;
    char* argv[] = {program.data(), target.data(), number.data(), samples.data(), nullptr};
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      execv(argv[0], argv);
      _exit(127);
    }
    close(ends[1]);
    char word[8] = {};
    EXPECT_EQ(read(ends[0], word, sizeof(word)), 6) << "it did not get ready";
    close(ends[0]);
  }
  ~StreamHolder() {
    Signal(SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  void Signal(int signal) const { kill(pid_, signal); }

 private:
  pid_t pid_ = 0;
};

int NumOpenFiles() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

TEST(Clients, AThousandKilledMidStreamLeaveNothingBehind) {
  TestServer server;
  EXPECT_TRUE(Stream(server.inference(), GreedyRequest(2)).status.ok());
  const int files_before = NumOpenFiles();
  for (int wave = 0; wave < 20; ++wave) StreamHolder(server.server().grpc_address(), 50);
  EXPECT_TRUE(server.BecomesIdle());
  EXPECT_TRUE(TestServer::Eventually([&] { return NumOpenFiles() <= files_before; }))
      << NumOpenFiles() << " files open, " << files_before << " before";
  EXPECT_TRUE(Stream(server.inference(), GreedyRequest(5)).status.ok());
}

TEST(Clients, ThatFallSilentAreNoticed) {
  Options options = TestOptions();
  options.connection.keepalive = std::chrono::milliseconds(300);
  TestServer server(options);
  StreamHolder holder(server.server().grpc_address(), 5, /*num_samples=*/4);
  // Its connections stay open, but nobody answers any more, as if its cable were cut.
  holder.Signal(SIGSTOP);
  EXPECT_TRUE(TestServer::Eventually([&] {
    return server.Scrape().find(
               "strata_requests_total{code=\"CANCELLED\",method=\"Generate\"} 5") !=
           std::string::npos;
  })) << server.Scrape();
  EXPECT_TRUE(server.BecomesIdle());
  EXPECT_TRUE(Stream(server.inference(), GreedyRequest(5)).status.ok());
}

// Whether the status says when to try again.
bool HasRetryInfo(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return false;
  for (const auto& detail : details.details()) {
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&retry) && retry.retry_delay().seconds() > 0) return true;
  }
  return false;
}

TEST(Clients, TenThousandCallsAreServedOrRefusedAtOnce) {
  constexpr int kCalls = 10'000;
  constexpr int kConnections = 50;
  TestServer server;
  struct Call {
    grpc::ClientContext context;
    v1::GenerateRequest request = GreedyRequest(1);
    v1::GenerateResult result;
    grpc::Status status;
  };
  std::vector<std::unique_ptr<v1::Inference::Stub>> stubs;
  for (int i = 0; i < kConnections; ++i) {
    stubs.push_back(v1::Inference::NewStub(server.NewChannel()));
  }
  std::vector<Call> calls(kCalls);
  std::latch left(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    Call& call = calls[i];
    stubs[i % kConnections]->async()->GenerateUnary(&call.context, &call.request, &call.result,
                                                    [&call, &left](const grpc::Status& status) {
                                                      call.status = status;
                                                      left.count_down();
                                                    });
  }
  left.wait();
  int num_served = 0;
  for (const Call& call : calls) {
    if (call.status.ok()) {
      ++num_served;
      EXPECT_EQ(call.result.samples(0).token_ids_size(), 1);
      continue;
    }
    ASSERT_EQ(call.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED)
        << call.status.error_message();
    ASSERT_TRUE(HasRetryInfo(call.status));
  }
  EXPECT_GT(num_served, 0);
  EXPECT_TRUE(server.BecomesIdle());
  EXPECT_TRUE(Stream(server.inference(), GreedyRequest(5)).status.ok());
}

}  // namespace
}  // namespace strata::server
