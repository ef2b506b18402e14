// A checkpoint's licence: accepted by the operator, acknowledged by tenants, cited by publications.

#ifndef STRATA_SERVER_LICENSE_GATE_H_
#define STRATA_SERVER_LICENSE_GATE_H_

#include <string>

#include "absl/status/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "server/caller.h"

namespace strata::server {

// OK if there is nothing to accept or `accepted_id` names the licence; else
// FAILED_PRECONDITION saying how to accept it.
absl::Status CheckLicense(const CheckpointLicense& license, const std::string& accepted_id);

// Whether `caller` may use a model under `license`: OK if that is not for noncommercial use only or
// the caller's tenant has acknowledged that it is; else PERMISSION_DENIED saying how to get there.
absl::Status CheckAcknowledgement(const CheckpointLicense& license, const Caller& caller);

// What a publication that used the model should say; empty for models without a licence.
std::string Citation(const CheckpointLicense& license, const std::string& model);

}  // namespace strata::server

#endif  // STRATA_SERVER_LICENSE_GATE_H_
