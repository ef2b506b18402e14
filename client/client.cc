#include "client/client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

namespace strata::client {

// A call's context, within reach of its Cancellation while the call runs.
class AttachedContext {
 public:
  explicit AttachedContext(const CallOptions& options) : cancellation_(options.cancellation) {
    if (options.timeout) {
      context_.set_deadline(std::chrono::system_clock::now() + *options.timeout);
    }
    if (cancellation_ != nullptr) cancellation_->Attach(&context_);
  }
  ~AttachedContext() {
    if (cancellation_ != nullptr) cancellation_->Attach(nullptr);
  }
  AttachedContext(const AttachedContext&) = delete;
  AttachedContext& operator=(const AttachedContext&) = delete;

  grpc::ClientContext* get() { return &context_; }

 private:
  grpc::ClientContext context_;
  Cancellation* const cancellation_;
};

namespace {

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  // A whole context with log-probabilities, in one answer, passes the default of 4 MiB.
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

absl::Status FromGrpc(const grpc::Status& status) {
  // gRPC's numbers are absl's.
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

template <typename Response, typename Stub, typename Method, typename Request>
absl::StatusOr<Response> Unary(const Stub& stub, Method method, const Request& request,
                               const CallOptions& options) {
  AttachedContext context(options);
  Response response;
  const grpc::Status status = ((*stub).*method)(context.get(), request, &response);
  if (!status.ok()) return FromGrpc(status);
  return response;
}

}  // namespace

Client::Client(const std::string& address) : Client(Connect(address)) {}

Client::Client(std::shared_ptr<grpc::ChannelInterface> channel)
    : inference_(v1::Inference::NewStub(channel)), control_(v1::Control::NewStub(channel)) {}

absl::Status Client::Generate(const v1::GenerateRequest& request, const OnResponse& on_response,
                              const CallOptions& options) {
  AttachedContext context(options);
  const auto reader = inference_->Generate(context.get(), request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) on_response(response);
  return FromGrpc(reader->Finish());
}

absl::StatusOr<v1::GenerateResult> Client::GenerateUnary(const v1::GenerateRequest& request,
                                                         const CallOptions& options) {
  return Unary<v1::GenerateResult>(inference_, &v1::Inference::StubInterface::GenerateUnary,
                                   request, options);
}

absl::StatusOr<v1::ScoreResponse> Client::Score(const v1::ScoreRequest& request,
                                                const CallOptions& options) {
  return Unary<v1::ScoreResponse>(inference_, &v1::Inference::StubInterface::Score, request,
                                  options);
}

absl::StatusOr<v1::TokenizeResponse> Client::Tokenize(const v1::TokenizeRequest& request,
                                                      const CallOptions& options) {
  return Unary<v1::TokenizeResponse>(inference_, &v1::Inference::StubInterface::Tokenize, request,
                                     options);
}

absl::StatusOr<v1::DetokenizeResponse> Client::Detokenize(const v1::DetokenizeRequest& request,
                                                          const CallOptions& options) {
  return Unary<v1::DetokenizeResponse>(inference_, &v1::Inference::StubInterface::Detokenize,
                                       request, options);
}

absl::StatusOr<v1::ModelInfo> Client::GetModelInfo(const CallOptions& options) {
  return Unary<v1::ModelInfo>(control_, &v1::Control::StubInterface::GetModelInfo,
                              v1::GetModelInfoRequest(), options);
}

absl::StatusOr<v1::Load> Client::GetLoad(const CallOptions& options) {
  return Unary<v1::Load>(control_, &v1::Control::StubInterface::GetLoad, v1::GetLoadRequest(),
                         options);
}

}  // namespace strata::client
