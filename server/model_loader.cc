#include "server/model_loader.h"

#include <fmt/format.h>

#include <utility>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/packed_file.h"
#include "engine/status_macros.h"
#include "engine/tokenizer/tokenizer.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "server/license_gate.h"

namespace strata::server {
namespace {

// What may be served, and what to serve it with.
struct LoadedFolder {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<kernels::Backend> backend;
};

absl::StatusOr<std::unique_ptr<kernels::Backend>> MakeBackend(const Options& options,
                                                              const Checkpoint& checkpoint) {
  ASSIGN_OR_RETURN(const kernels::WeightFormat weights,
                   ChooseWeightFormat(checkpoint, options.weights));
  try {
    if (options.device == DeviceKind::kCuda) {
      return kernels::CreateCudaBackend({weights, /*device=*/0, options.deterministic});
    }
    return kernels::CreateCpuBackend({weights, options.threads, /*isa=*/""});
  } catch (const kernels::DeviceError& error) {
    return absl::FailedPreconditionError(error.what());
  }
}

absl::StatusOr<LoadedFolder> LoadFolder(const Options& options) {
  LoadedFolder loaded;
  ASSIGN_OR_RETURN(loaded.checkpoint, Checkpoint::Open(options.model));
  RETURN_IF_ERROR(CheckLicense(loaded.checkpoint->license(), options.accepted_license));
  ASSIGN_OR_RETURN(loaded.tokenizer,
                   Tokenizer::Open(options.model, loaded.checkpoint->config().vocab_size));
  ASSIGN_OR_RETURN(loaded.backend, MakeBackend(options, *loaded.checkpoint));
  return loaded;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> LoadEngine(const Options& options,
                                                   EngineObserver* observer) {
  ASSIGN_OR_RETURN(LoadedFolder loaded, LoadFolder(options));
  return Engine::Create(std::move(loaded.checkpoint), std::move(loaded.tokenizer),
                        std::move(loaded.backend), options.engine, observer, /*clock=*/nullptr);
}

absl::StatusOr<PackedSummary> SavePacked(const Options& options) {
  ASSIGN_OR_RETURN(const LoadedFolder loaded, LoadFolder(options));
  return PackCheckpoint(*loaded.checkpoint, *loaded.backend, options.save_packed);
}

}  // namespace strata::server
