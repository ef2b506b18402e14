// An Inference service that answers what it was told to, on a free loopback port.

#ifndef STRATA_TESTS_FAKES_FAKE_INFERENCE_SERVICE_H_
#define STRATA_TESTS_FAKES_FAKE_INFERENCE_SERVICE_H_

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "strata/v1/inference.grpc.pb.h"

namespace strata {

class FakeInferenceService final : public v1::Inference::Service {
 public:
  // `other`: served beside it, if it is not null.
  explicit FakeInferenceService(grpc::Service* other = nullptr) {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    if (other != nullptr) builder.RegisterService(other);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~FakeInferenceService() override { server_->Shutdown(); }

  // Whoever calls there, from another process too, finds what was set before.
  const std::string& address() const {
    std::lock_guard lock(mu_);
    return address_;
  }

  // What Generate streams and how it ends. Set before address() is asked.
  std::vector<v1::GenerateResponse> responses;
  grpc::Status status;
  bool hang = false;  // after the responses, until the caller goes away

  // Of the last Generate that has ended.
  std::string last_prompt() const {
    std::lock_guard lock(mu_);
    return last_prompt_;
  }
  std::string last_authorization() const {
    std::lock_guard lock(mu_);
    return last_authorization_;
  }

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    Remember(*context, *request);
    for (const v1::GenerateResponse& response : responses) writer->Write(response);
    while (hang && !context->IsCancelled()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return status;
  }

  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    for (const char c : request->text()) {
      response->add_token_ids(static_cast<unsigned char>(c));
      response->add_pieces(std::string(1, c));
    }
    return status;
  }

 private:
  void Remember(const grpc::ServerContext& context, const v1::GenerateRequest& request) {
    std::lock_guard lock(mu_);  // calls may come at the same time
    last_prompt_ = request.text();
    const auto authorization = context.client_metadata().find("authorization");
    last_authorization_.clear();
    if (authorization != context.client_metadata().end()) {
      last_authorization_.assign(authorization->second.data(), authorization->second.size());
    }
  }

  mutable std::mutex mu_;
  std::string last_prompt_;         // guarded by mu_
  std::string last_authorization_;  // guarded by mu_
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace strata

#endif  // STRATA_TESTS_FAKES_FAKE_INFERENCE_SERVICE_H_
