// Files that a simulation writes.

#ifndef STRATA_BENCH_SIMULATOR_OUTPUT_FOLDER_H_
#define STRATA_BENCH_SIMULATOR_OUTPUT_FOLDER_H_

#include <string>

#include "absl/status/status.h"

namespace strata::sim {

// Writes `content` to `folder`/`name`, making the folder if need be; nothing if `folder` is empty.
// Errors: PERMISSION_DENIED, with the path.
absl::Status WriteOutput(const std::string& folder, const std::string& name,
                         const std::string& content);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_OUTPUT_FOLDER_H_
