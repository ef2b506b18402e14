// For whom a call is made: what the engine shares its time by.

#ifndef STRATA_SERVER_TENANCY_H_
#define STRATA_SERVER_TENANCY_H_

#include <grpcpp/server_context.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tenant.h"
#include "server/options.h"

namespace strata::server {

// INVALID_ARGUMENT unless gRPC carries printable values under `key`: lower-case letters, digits,
// '-', '_' and '.', not ending with "-bin", and not one of its own ("grpc-..."). Empty is fine.
absl::Status CheckMetadataKey(const std::string& key);

// The tenant that the call's metadata names, else the one without a name. INVALID_ARGUMENT if the
// name is longer than 128 characters, or there are several.
absl::StatusOr<Tenant> TenantOf(const grpc::ServerContextBase& context,
                                const TenancyOptions& options);

}  // namespace strata::server

#endif  // STRATA_SERVER_TENANCY_H_
