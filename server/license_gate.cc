#include "server/license_gate.h"

#include <fmt/format.h>

namespace strata::server {

absl::Status CheckLicense(const CheckpointLicense& license, const std::string& accepted_id) {
  if (license.id.empty() || license.id == accepted_id) return absl::OkStatus();
  const std::string wrong_id =
      accepted_id.empty() ? "" : fmt::format(" (what was accepted is '{}')", accepted_id);
  return absl::FailedPreconditionError(fmt::format(
      "the checkpoint is under the licence '{0}', which has to be accepted first{1}: read it, then "
      "pass --accept-model-license {0}",
      license.id, wrong_id));
}

}  // namespace strata::server
