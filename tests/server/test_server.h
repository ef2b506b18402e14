// A real server over a real engine, in this process, on a free loopback port.

#ifndef STRATA_TESTS_SERVER_TEST_SERVER_H_
#define STRATA_TESTS_SERVER_TEST_SERVER_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "server/metrics.h"
#include "server/model_loader.h"
#include "server/server.h"
#include "strata/v1/control.grpc.pb.h"
#include "strata/v1/inference.grpc.pb.h"

namespace strata::server {

// tests/goldens' random model: 6 layers, 512 positions, quick.
inline Options TestOptions() {
  Options options;
  options.model = STRATA_SOURCE_DIR "/tests/goldens/models/tiny-llama3";
  options.listen = {"127.0.0.1", 0};
  options.metrics_listen.reset();  // closing it takes civetweb two seconds
  options.weights = kernels::WeightFormat::kF32;
  options.threads = 1;
  options.engine.kv_cache_bytes = 64 << 20;
  return options;
}

class TestServer {
 public:
  explicit TestServer(const Options& options = TestOptions()) {
    auto engine = LoadEngine(options, &metrics_);
    if (!engine.ok()) ADD_FAILURE() << engine.status();
    Start(options, *std::move(engine));
  }
  TestServer(const Options& options, std::unique_ptr<Engine> engine,
             StrataServer::Hooks hooks = {}) {
    Start(options, std::move(engine), std::move(hooks));
  }

  // A connection of its own.
  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // its window stays as it is
    return grpc::CreateCustomChannel(server_->grpc_address(), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  StrataServer& server() { return *server_; }
  AccessControl& access() { return *access_; }
  std::shared_ptr<grpc::Channel> channel() { return channel_; }
  v1::Inference::Stub& inference() { return *inference_; }
  v1::Control::Stub& control() { return *control_; }

  // As /metrics would show it, without the load.
  std::string Scrape() const {
    return prometheus::TextSerializer().Serialize(metrics_.registry()->Collect());
  }

  // `token`: empty if the server asks for none.
  v1::Load GetLoad(const std::string& token = "") {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    v1::Load load;
    EXPECT_TRUE(control_->GetLoad(&context, {}, &load).ok());
    return load;
  }

  // Whether `condition` comes true within a time that only a hang exceeds.
  static bool Eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  // Whether nothing runs, waits or holds KV blocks any more.
  bool BecomesIdle(const std::string& token = "") {
    return Eventually([&] {
      const v1::Load load = GetLoad(token);
      return load.running_requests() == 0 && load.queued_requests() == 0 &&
             load.kv_blocks_used() == 0 && load.exit_cache_rows_used() == 0;
    });
  }

 private:
  void Start(const Options& options, std::unique_ptr<Engine> engine,
             StrataServer::Hooks hooks = {}) {
    engine_ = std::move(engine);
    auto access = AccessControl::Open(options, &metrics_);
    if (!access.ok()) ADD_FAILURE() << access.status();
    access_ = *std::move(access);
    auto server =
        StrataServer::Start(options, access_.get(), engine_.get(), &metrics_, std::move(hooks));
    if (!server.ok()) ADD_FAILURE() << server.status();
    server_ = *std::move(server);
    channel_ = NewChannel();
    inference_ = v1::Inference::NewStub(channel_);
    control_ = v1::Control::NewStub(channel_);
  }

  ServerMetrics metrics_;
  std::unique_ptr<AccessControl> access_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<StrataServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> inference_;
  std::unique_ptr<v1::Control::Stub> control_;
};

// A greedy request that runs its full length: nothing ends it early.
inline v1::GenerateRequest GreedyRequest(int max_new_tokens) {
  v1::GenerateRequest request;
  request.set_text("def f(x):");
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_new_tokens(max_new_tokens);
  request.mutable_stopping()->set_ignore_eos(true);
  return request;
}

// What a stream gave.
struct StreamResult {
  grpc::Status status;
  std::string text;
  std::vector<uint32_t> token_ids;
  std::vector<v1::GenerateResponse> responses;

  const v1::Finished& finished() const { return responses.back().finished(); }
};

inline StreamResult Stream(v1::Inference::Stub& stub, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  const auto reader = stub.Generate(&context, request);
  StreamResult result;
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    result.responses.push_back(response);
    result.text += response.delta().text();
    result.token_ids.insert(result.token_ids.end(), response.delta().token_ids().begin(),
                            response.delta().token_ids().end());
  }
  result.status = reader->Finish();
  return result;
}

}  // namespace strata::server

#endif  // STRATA_TESTS_SERVER_TEST_SERVER_H_
