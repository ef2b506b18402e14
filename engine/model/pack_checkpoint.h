// Writes a checkpoint as a packed folder, which starts without packing.

#ifndef STRATA_ENGINE_MODEL_PACK_CHECKPOINT_H_
#define STRATA_ENGINE_MODEL_PACK_CHECKPOINT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "kernels/backend.h"

namespace strata {

struct PackedSummary {
  int64_t size_bytes = 0;  // of the weights' file
  std::string layout;      // kernels::PackedWeights::layout
};

// Writes to `folder` what Checkpoint::Open and Tokenizer::Open need: the weights as `backend`
// packs them, the configuration, the tokenizer, and the licence. The folder appears complete or
// not at all; one matrix at a time is in memory.
// Errors: INVALID_ARGUMENT if `checkpoint` is packed already, `folder` exists and is not empty, or
// the system refuses to write; FAILED_PRECONDITION if the backend's matrices cannot be saved;
// RESOURCE_EXHAUSTED if there is too little memory.
absl::StatusOr<PackedSummary> PackCheckpoint(const Checkpoint& checkpoint,
                                             kernels::Backend& backend, const std::string& folder);

}  // namespace strata

#endif  // STRATA_ENGINE_MODEL_PACK_CHECKPOINT_H_
