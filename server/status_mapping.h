// From absl::Status, which everything inside speaks, to what a gRPC caller sees.

#ifndef STRATA_SERVER_STATUS_MAPPING_H_
#define STRATA_SERVER_STATUS_MAPPING_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <string>

#include "absl/status/status.h"

namespace strata::server {

// INVALID_ARGUMENT about one field of a request: the message is "path: problem".
absl::Status FieldError(const std::string& path, const std::string& problem);

// Codes are kept but for OUT_OF_RANGE (a prompt too long for the context or the KV pool), which
// becomes INVALID_ARGUMENT: no retry can help. With google.rpc details:
//   INVALID_ARGUMENT    BadRequest, where the message begins with a field's path
//   RESOURCE_EXHAUSTED  RetryInfo: after what the status says (engine/admission.h), else
//   `retry_delay` all                 ErrorInfo
grpc::Status ToGrpcStatus(const absl::Status& status,
                          std::chrono::seconds retry_delay = std::chrono::seconds(1));

// E.g. "RESOURCE_EXHAUSTED"; the reason in ErrorInfo and a label of metrics.
std::string CodeName(grpc::StatusCode code);

}  // namespace strata::server

#endif  // STRATA_SERVER_STATUS_MAPPING_H_
