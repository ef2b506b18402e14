// What the draft controller has learnt, in a file: so that a server begins where the last one
// ended.

#ifndef STRATA_ENGINE_POLICY_EXPERIENCE_FILE_H_
#define STRATA_ENGINE_POLICY_EXPERIENCE_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/policy/draft_controller.h"

namespace strata {

// As JSON. `model` names what it was learnt on.
std::string ToJson(const DraftController::Experience& experience, std::string_view model);
// INVALID_ARGUMENT, with a message that begins with `source`: no such JSON, another model's, values
// out of range.
absl::StatusOr<DraftController::Experience> ParseExperience(std::string_view text,
                                                            std::string_view source,
                                                            std::string_view model, int num_layers);

// NOT_FOUND if there is no such file; else the errors of ParseExperience.
absl::StatusOr<DraftController::Experience> ReadExperience(const std::string& path,
                                                           std::string_view model, int num_layers);
// The file is replaced at once or not at all. INVALID_ARGUMENT if it cannot be written.
absl::Status WriteExperience(const std::string& path, const DraftController::Experience& experience,
                             std::string_view model);

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_EXPERIENCE_FILE_H_
