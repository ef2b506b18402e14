#include "server/model_loader.h"

#include <fmt/format.h>

#include <utility>

#include "engine/checkpoint/checkpoint.h"
#include "engine/status_macros.h"
#include "engine/tokenizer/tokenizer.h"
#include "kernels/cpu/cpu_backend.h"
#include "server/license_gate.h"

namespace strata::server {
namespace {

absl::StatusOr<std::unique_ptr<kernels::Backend>> MakeBackend(const Options& options) {
  kernels::CpuBackendOptions cpu;
  cpu.weights = options.weights;
  cpu.num_threads = options.threads;
  try {
    return kernels::CreateCpuBackend(cpu);
  } catch (const kernels::DeviceError& error) {
    return absl::FailedPreconditionError(error.what());
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> LoadEngine(const Options& options,
                                                   EngineObserver* observer) {
  ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(options.model));
  RETURN_IF_ERROR(CheckLicense(checkpoint->license(), options.accepted_license));
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::Open(options.model, checkpoint->config().vocab_size));
  ASSIGN_OR_RETURN(std::unique_ptr<kernels::Backend> backend, MakeBackend(options));
  return Engine::Create(std::move(checkpoint), std::move(tokenizer), std::move(backend),
                        options.engine, observer, /*clock=*/nullptr);
}

}  // namespace strata::server
