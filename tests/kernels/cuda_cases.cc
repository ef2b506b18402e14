// The cases of the CUDA backend, on an emulated GPU: streams are lazy, and each number of threads
// is an order of execution.

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/cuda_backend.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/kernels/backend_case.h"

namespace strata::kernels {

using cuda_emulator::Schedule;

std::unique_ptr<Backend> BackendCase::Create(int num_threads) const {
  cuda_emulator::Settings settings;
  settings.schedule = num_threads == 1   ? Schedule::kForward
                      : num_threads == 2 ? Schedule::kReverse
                                         : Schedule::kRandom;
  settings.seed = static_cast<uint64_t>(num_threads);
  settings.lazy_streams = true;
  cuda_emulator::Configure(settings);
  return CreateCudaBackend({weights, /*device=*/0, /*deterministic=*/true});
}

std::vector<BackendCase> AllBackendCases() {
  std::vector<BackendCase> cases;
  for (const WeightFormat weights : kAllWeightFormats) cases.push_back({"cuda", weights});
  return cases;
}

std::vector<BackendCase> AttentionCases() {
  return {{"cuda", WeightFormat::kF32}, {"cuda", WeightFormat::kBF16}};
}
int PartitionTokens() { return cuda::kPartition; }
bool CanPackWeights(const BackendCase&) { return false; }
bool QuantizesOperands(const BackendCase&) { return false; }

}  // namespace strata::kernels
