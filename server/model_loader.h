// From options to a running engine, or to a packed folder.

#ifndef STRATA_SERVER_MODEL_LOADER_H_
#define STRATA_SERVER_MODEL_LOADER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/model/pack_checkpoint.h"
#include "server/options.h"

namespace strata::server {

// Opens the checkpoint and its tokenizer, checks the licence, makes the
// backend and starts the engine. `observer` must outlive the engine.
absl::StatusOr<std::unique_ptr<Engine>> LoadEngine(const Options& options,
                                                   EngineObserver* observer);

// The same checks, then writes the packed folder options.save_packed.
absl::StatusOr<PackedSummary> SavePacked(const Options& options);

}  // namespace strata::server

#endif  // STRATA_SERVER_MODEL_LOADER_H_
