// What one connection may take of the server.

#ifndef STRATA_SERVER_CONNECTION_LIMITS_H_
#define STRATA_SERVER_CONNECTION_LIMITS_H_

#include <grpcpp/server_builder.h>

#include "server/options.h"

namespace strata::server {

// Bounds on `builder`'s server: sizes of messages and metadata, streams at once, time to connect,
// pings that a client may send; and pings that the server sends, to notice clients that are gone
// without a word.
void LimitConnections(const ConnectionOptions& options, grpc::ServerBuilder* builder);

}  // namespace strata::server

#endif  // STRATA_SERVER_CONNECTION_LIMITS_H_
