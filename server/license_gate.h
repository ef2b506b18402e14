// Refuses to serve a checkpoint whose licence the operator has not accepted.

#ifndef STRATA_SERVER_LICENSE_GATE_H_
#define STRATA_SERVER_LICENSE_GATE_H_

#include <string>

#include "absl/status/status.h"
#include "engine/checkpoint/checkpoint.h"

namespace strata::server {

// OK if there is nothing to accept or `accepted_id` names the licence; else
// FAILED_PRECONDITION saying how to accept it.
absl::Status CheckLicense(const CheckpointLicense& license, const std::string& accepted_id);

}  // namespace strata::server

#endif  // STRATA_SERVER_LICENSE_GATE_H_
