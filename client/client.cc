#include "client/client.h"

#include <arpa/inet.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <utility>

namespace strata::client {

// A call's context, within reach of its Cancellation while the call runs.
class AttachedContext {
 public:
  AttachedContext(const CallOptions& options, const std::string& token)
      : cancellation_(options.cancellation) {
    if (!token.empty()) context_.AddMetadata("authorization", "Bearer " + token);
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

// Whether nobody but this machine sees what is sent to "HOST:PORT".
bool IsLoopback(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  in_addr ip{};
  return host == "localhost" || host == "[::1]" ||
         (inet_pton(AF_INET, host.c_str(), &ip) == 1 && (ntohl(ip.s_addr) >> 24) == 127);
}

std::shared_ptr<grpc::ChannelCredentials> MakeCredentials(const ConnectOptions& options) {
  if (!options.tls) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({options.ca_certificates, options.private_key, options.certificate});
}

absl::Status FromGrpc(const grpc::Status& status) {
  // gRPC's numbers are absl's.
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

template <typename Response, typename Stub, typename Method, typename Request>
absl::StatusOr<Response> Unary(const Stub& stub, Method method, const Request& request,
                               const CallOptions& options, const std::string& token) {
  AttachedContext context(options, token);
  Response response;
  const grpc::Status status = ((*stub).*method)(context.get(), request, &response);
  if (!status.ok()) return FromGrpc(status);
  return response;
}

}  // namespace

absl::Status Validate(const ConnectOptions& options) {
  if (options.certificate.empty() != options.private_key.empty()) {
    return absl::InvalidArgumentError(
        "a client certificate and its private key: one is of no use without the other");
  }
  if (!options.tls && !(options.ca_certificates.empty() && options.certificate.empty())) {
    return absl::InvalidArgumentError("certificates are of no use without TLS");
  }
  const auto is_token_character = [](unsigned char c) { return c > ' ' && c < 0x7f; };
  if (!std::all_of(options.token.begin(), options.token.end(), is_token_character)) {
    return absl::InvalidArgumentError("the token is not one word of printable ASCII");
  }
  if (!options.tls && !options.token.empty() && !IsLoopback(options.address)) {
    return absl::InvalidArgumentError(
        "the token would be sent for everybody to read: use TLS, unless the server is on this "
        "machine (127.0.0.1)");
  }
  return absl::OkStatus();
}

std::shared_ptr<grpc::Channel> Connect(const ConnectOptions& options, bool own_connection) {
  grpc::ChannelArguments arguments;
  // A whole context with log-probabilities, in one answer, passes the default of 4 MiB.
  arguments.SetMaxReceiveMessageSize(-1);
  if (own_connection) arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(options.address, MakeCredentials(options), arguments);
}

Client::Client(const ConnectOptions& options) : Client(Connect(options), options.token) {}

Client::Client(const std::string& address)
    : Client([&] {
        ConnectOptions options;
        options.address = address;
        return options;
      }()) {}

Client::Client(std::shared_ptr<grpc::ChannelInterface> channel, std::string token)
    : inference_(v1::Inference::NewStub(channel)),
      control_(v1::Control::NewStub(channel)),
      token_(std::move(token)) {}

absl::Status Client::Generate(const v1::GenerateRequest& request, const OnResponse& on_response,
                              const CallOptions& options) {
  AttachedContext context(options, token_);
  const auto reader = inference_->Generate(context.get(), request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) on_response(response);
  return FromGrpc(reader->Finish());
}

absl::StatusOr<v1::GenerateResult> Client::GenerateUnary(const v1::GenerateRequest& request,
                                                         const CallOptions& options) {
  return Unary<v1::GenerateResult>(inference_, &v1::Inference::StubInterface::GenerateUnary,
                                   request, options, token_);
}

absl::StatusOr<v1::ScoreResponse> Client::Score(const v1::ScoreRequest& request,
                                                const CallOptions& options) {
  return Unary<v1::ScoreResponse>(inference_, &v1::Inference::StubInterface::Score, request,
                                  options, token_);
}

absl::StatusOr<v1::TokenizeResponse> Client::Tokenize(const v1::TokenizeRequest& request,
                                                      const CallOptions& options) {
  return Unary<v1::TokenizeResponse>(inference_, &v1::Inference::StubInterface::Tokenize, request,
                                     options, token_);
}

absl::StatusOr<v1::DetokenizeResponse> Client::Detokenize(const v1::DetokenizeRequest& request,
                                                          const CallOptions& options) {
  return Unary<v1::DetokenizeResponse>(inference_, &v1::Inference::StubInterface::Detokenize,
                                       request, options, token_);
}

absl::StatusOr<v1::ModelInfo> Client::GetModelInfo(const CallOptions& options) {
  return Unary<v1::ModelInfo>(control_, &v1::Control::StubInterface::GetModelInfo,
                              v1::GetModelInfoRequest(), options, token_);
}

absl::StatusOr<v1::Load> Client::GetLoad(const CallOptions& options) {
  return Unary<v1::Load>(control_, &v1::Control::StubInterface::GetLoad, v1::GetLoadRequest(),
                         options, token_);
}

absl::StatusOr<v1::Trace> Client::GetTrace(const v1::GetTraceRequest& request,
                                           const CallOptions& options) {
  return Unary<v1::Trace>(control_, &v1::Control::StubInterface::GetTrace, request, options,
                          token_);
}

}  // namespace strata::client
