// Requests that are no valid protobuf message, or whose text is no UTF-8.

#ifndef STRATA_SERVER_MALFORMED_REQUEST_H_
#define STRATA_SERVER_MALFORMED_REQUEST_H_

#include <grpcpp/server_builder.h>

#include <functional>
#include <set>
#include <string>

namespace strata::server {

// gRPC answers a message that it cannot parse with UNIMPLEMENTED, before any
// code of ours sees it. This makes `builder`'s server say INVALID_ARGUMENT where
// the method is one of these `services`, by their full names.
// REQUIRES: all their methods are implemented.
void AnswerMalformedRequests(std::set<std::string, std::less<>> services,
                             grpc::ServerBuilder* builder);

}  // namespace strata::server

#endif  // STRATA_SERVER_MALFORMED_REQUEST_H_
