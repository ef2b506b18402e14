// What a model would take and give on some machine, without loading it.

#ifndef STRATA_SERVER_DRY_RUN_H_
#define STRATA_SERVER_DRY_RUN_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/options.h"

namespace strata::server {

// The plan of options.dry_run's machine, for people. Reads config.json only, and takes some seconds
// to measure this machine if it is the one.
// Errors: NOT_FOUND or INVALID_ARGUMENT (the checkpoint, the options against it),
// RESOURCE_EXHAUSTED with the plan as its message: it does not fit.
absl::StatusOr<std::string> DryRun(const Options& options);

}  // namespace strata::server

#endif  // STRATA_SERVER_DRY_RUN_H_
