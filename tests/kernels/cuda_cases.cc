// The cases of the CUDA backend, on emulated GPUs or on real ones.

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/backend_case.h"
#include "tests/kernels/execution_order.h"

namespace strata::kernels {

std::unique_ptr<Backend> BackendCase::Create(int num_threads) const {
  ChooseExecutionOrder(num_threads);
  return CreateCudaBackend({weights, /*device=*/0, /*deterministic=*/true});
}

std::vector<BackendCase> AllBackendCases() {
  std::vector<BackendCase> cases;
  for (const WeightFormat weights : kAllWeightFormats) cases.push_back({"cuda", weights});
  return cases;
}

std::vector<BackendCase> AttentionCases() {
  return {
      {"cuda", WeightFormat::kF32}, {"cuda", WeightFormat::kBF16}, {"cuda", WeightFormat::kF16}};
}
int PartitionTokens() { return cuda::kPartition; }
bool CanPackWeights(const BackendCase&) { return false; }
bool QuantizesOperands(const BackendCase&) { return false; }

}  // namespace strata::kernels
