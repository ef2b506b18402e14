// gRPC's reflection service, which linking it turns on in every server.

#ifndef STRATA_SERVER_REFLECTION_H_
#define STRATA_SERVER_REFLECTION_H_

#include <grpcpp/server_builder.h>

namespace strata::server {

// The server will not describe its services.
void TurnOffReflection(grpc::ServerBuilder* builder);

}  // namespace strata::server

#endif  // STRATA_SERVER_REFLECTION_H_
