// Which licence a checkpoint folder carries.

#ifndef STRATA_ENGINE_CHECKPOINT_LICENSE_H_
#define STRATA_ENGINE_CHECKPOINT_LICENSE_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"

namespace strata {

inline constexpr char kFairLicenseId[] = "fair-noncommercial-research";

// Where the text of a licence is looked for, in this order.
inline constexpr const char* kLicenseFiles[] = {"LICENSE",    "LICENSE.txt",   "LICENSE.md",
                                                "USE_POLICY", "USE_POLICY.md", "USE_POLICY.txt"};

// Looks at, in this order: the text of the first of kLicenseFiles;
// `name` (the model's) and the folder's own name; the keys "license" and "license_name" of
// config.json. The strictest finding gives the id.
// Errors: a licence file that cannot be read or is larger than a licence can be.
absl::StatusOr<CheckpointLicense> DetectLicense(const std::string& folder, const std::string& name);
// Whether the licence of this id is for noncommercial use only.
bool IsNoncommercial(const std::string& id);

// The one with more to accept; `a` of two equals.
CheckpointLicense StricterOf(const CheckpointLicense& a, const CheckpointLicense& b);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_LICENSE_H_
