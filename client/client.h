// A Strata server from a program: one method per call of the API.

#ifndef STRATA_CLIENT_CLIENT_H_
#define STRATA_CLIENT_CLIENT_H_

#include <grpcpp/channel.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cancellation.h"
#include "strata/v1/control.grpc.pb.h"
#include "strata/v1/inference.grpc.pb.h"

namespace strata::client {

struct CallOptions {
  // After it the call fails with DEADLINE_EXCEEDED; absent: none.
  std::optional<std::chrono::milliseconds> timeout;
  // Ends the call with CANCELLED when it is cancelled; may be null. Must outlive the call.
  Cancellation* cancellation = nullptr;
};

// How to reach a server, and as whom.
struct ConnectOptions {
  std::string address;  // HOST:PORT
  bool tls = false;
  // PEM, for TLS. Empty: the system's trusted roots; no certificate of our own.
  std::string ca_certificates;
  std::string certificate;
  std::string private_key;
  // Sent with every call; empty: none. Only for TLS or a server on this machine, as everybody on
  // the way could read it otherwise.
  std::string token;
};

// INVALID_ARGUMENT if the options contradict each other, or would give the token away.
absl::Status Validate(const ConnectOptions& options);

// Channels to one address share a connection, except those with one of their own.
// REQUIRES: Validate(options) is OK.
std::shared_ptr<grpc::Channel> Connect(const ConnectOptions& options, bool own_connection = false);

// Thread-safe; calls may run at the same time. Errors carry the server's code
// and message; UNAVAILABLE where there is no server.
class Client {
 public:
  // Connects with the first call. REQUIRES: Validate(options) is OK.
  explicit Client(const ConnectOptions& options);
  // Without TLS, to HOST:PORT.
  explicit Client(const std::string& address);
  explicit Client(std::shared_ptr<grpc::ChannelInterface> channel, std::string token = "");

  using OnResponse = std::function<void(const v1::GenerateResponse&)>;

  // Hands each event to `on_response`, on the calling thread, and returns when
  // the stream has ended.
  absl::Status Generate(const v1::GenerateRequest& request, const OnResponse& on_response,
                        const CallOptions& options = {});
  absl::StatusOr<v1::GenerateResult> GenerateUnary(const v1::GenerateRequest& request,
                                                   const CallOptions& options = {});
  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request,
                                          const CallOptions& options = {});
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request,
                                                const CallOptions& options = {});
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request,
                                                    const CallOptions& options = {});
  absl::StatusOr<v1::ModelInfo> GetModelInfo(const CallOptions& options = {});
  absl::StatusOr<v1::Load> GetLoad(const CallOptions& options = {});
  absl::StatusOr<v1::Trace> GetTrace(const v1::GetTraceRequest& request,
                                     const CallOptions& options = {});

 private:
  const std::unique_ptr<v1::Inference::StubInterface> inference_;
  const std::unique_ptr<v1::Control::StubInterface> control_;
  const std::string token_;
};

}  // namespace strata::client

#endif  // STRATA_CLIENT_CLIENT_H_
