// The devices that a model is to run on.

#ifndef STRATA_SERVER_RANK_DEVICES_H_
#define STRATA_SERVER_RANK_DEVICES_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "kernels/communicator.h"
#include "server/options.h"

namespace strata::server {

// One for each rank of options.tensor_parallel.
// Errors: FAILED_PRECONDITION if this machine lacks them.
absl::StatusOr<std::vector<kernels::RankDevice>> MakeRankDevices(const Options& options,
                                                                 const Checkpoint& checkpoint);

}  // namespace strata::server

#endif  // STRATA_SERVER_RANK_DEVICES_H_
