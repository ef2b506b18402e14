#include "server/model_loader.h"

#include <utility>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/status_macros.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/license_gate.h"
#include "server/rank_devices.h"

namespace strata::server {
namespace {

// What may be served, and what to serve it with.
struct LoadedFolder {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<kernels::RankDevice> ranks;
};

absl::StatusOr<LoadedFolder> LoadFolder(const Options& options) {
  LoadedFolder loaded;
  ASSIGN_OR_RETURN(loaded.checkpoint, Checkpoint::Open(options.model));
  RETURN_IF_ERROR(CheckLicense(loaded.checkpoint->license(), options.accepted_license));
  ASSIGN_OR_RETURN(loaded.tokenizer,
                   Tokenizer::Open(options.model, loaded.checkpoint->config().vocab_size));
  ASSIGN_OR_RETURN(loaded.ranks, MakeRankDevices(options, *loaded.checkpoint));
  return loaded;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> LoadEngine(const Options& options,
                                                   EngineObserver* observer) {
  ASSIGN_OR_RETURN(LoadedFolder loaded, LoadFolder(options));
  return Engine::Create(std::move(loaded.checkpoint), std::move(loaded.tokenizer),
                        std::move(loaded.ranks), options.engine, observer, /*clock=*/nullptr);
}

absl::StatusOr<PackedSummary> SavePacked(const Options& options) {
  if (options.tensor_parallel > 1) {
    return absl::InvalidArgumentError(
        "--save-packed: packs whole matrices, which --tensor-parallel cannot split; leave it out");
  }
  ASSIGN_OR_RETURN(const LoadedFolder loaded, LoadFolder(options));
  return PackCheckpoint(*loaded.checkpoint, *loaded.ranks[0].backend, options.save_packed);
}

}  // namespace strata::server
