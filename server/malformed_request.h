// Requests that are no valid protobuf message, or whose text is no UTF-8.

#ifndef STRATA_SERVER_MALFORMED_REQUEST_H_
#define STRATA_SERVER_MALFORMED_REQUEST_H_

#include <grpcpp/server_builder.h>

namespace strata::server {

// gRPC answers a message that it cannot parse with UNIMPLEMENTED, before any
// code of ours sees it. This makes `builder`'s server say INVALID_ARGUMENT.
// REQUIRES: all methods of all its services are implemented.
void AnswerMalformedRequests(grpc::ServerBuilder* builder);

}  // namespace strata::server

#endif  // STRATA_SERVER_MALFORMED_REQUEST_H_
