#include "server/license_gate.h"

#include <fmt/format.h>

#include "engine/checkpoint/license.h"

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

absl::Status CheckAcknowledgement(const CheckpointLicense& license, const Caller& caller) {
  if (!IsNoncommercial(license.id) || caller.acknowledges_noncommercial_use()) {
    return absl::OkStatus();
  }
  const std::string who = caller.token() == nullptr
                              ? "a caller without a token"
                              : fmt::format("tenant '{}'", caller.tenant().name);
  return absl::PermissionDeniedError(fmt::format(
      "the model's licence, '{}', allows noncommercial use only, and {} has not acknowledged that: "
      "read it (strata info --licence), then ask the server's operator to set "
      "noncommercial_use_acknowledged = true for your tenant in the credentials file",
      license.id, who));
}

std::string Citation(const CheckpointLicense& license, const std::string& model) {
  if (license.id.empty()) return "";
  const std::string terms =
      fmt::format("This work used the model {} under its licence ({}).", model, license.id);
  if (license.id != kFairLicenseId) return terms;
  return terms +
         " Elhoushi et al. LayerSkip: Enabling Early Exit Inference and Self-Speculative Decoding. "
         "ACL 2024. arXiv:2404.16710.";
}

}  // namespace strata::server
