// Names for requests: the caller's, or one of ours.

#ifndef STRATA_SERVER_REQUEST_IDS_H_
#define STRATA_SERVER_REQUEST_IDS_H_

#include <fmt/format.h>
#include <grpcpp/server_context.h>

#include <atomic>
#include <cstdint>
#include <random>
#include <string>

#include "server/request_translation.h"

namespace strata::server {

// Thread-safe.
class RequestIds {
 public:
  RequestIds() : server_(std::random_device{}()) {}

  // What the message says (empty: nothing), else the call's metadata "x-request-id", else Next().
  // An id that CheckRequestId refuses is passed over: it must not get into logs.
  std::string Choose(const std::string& of_message, const grpc::ServerContextBase& context) {
    if (!of_message.empty() && CheckRequestId(of_message).ok()) return of_message;
    const auto found = context.client_metadata().find("x-request-id");
    if (found == context.client_metadata().end()) return Next();
    std::string of_metadata(found->second.data(), found->second.size());
    return of_metadata.empty() || !CheckRequestId(of_metadata).ok() ? Next() : of_metadata;
  }

  // Unique in this server's life, and most likely among servers: "req-1c9a03f2-17".
  std::string Next() { return fmt::format("req-{:08x}-{}", server_, ++last_); }

 private:
  const uint32_t server_;
  std::atomic<uint64_t> last_{0};
};

}  // namespace strata::server

#endif  // STRATA_SERVER_REQUEST_IDS_H_
