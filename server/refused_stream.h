// A call of a streaming method that ends before it begins.

#ifndef STRATA_SERVER_REFUSED_STREAM_H_
#define STRATA_SERVER_REFUSED_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "server/status_mapping.h"

namespace strata::server {

// Owns itself: gRPC calls OnDone last, which deletes it.
template <typename Response>
class RefusedStream final : public grpc::ServerWriteReactor<Response> {
 public:
  explicit RefusedStream(const absl::Status& why) { this->Finish(ToGrpcStatus(why)); }
  void OnDone() override { delete this; }
};

}  // namespace strata::server

#endif  // STRATA_SERVER_REFUSED_STREAM_H_
