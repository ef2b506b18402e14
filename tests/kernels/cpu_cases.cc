// The cases of the reference and of the CPU's backends.

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/reference/reference_backend.h"
#include "tests/kernels/backend_case.h"

namespace strata::kernels {

std::unique_ptr<Backend> BackendCase::Create(int num_threads) const {
  if (isa == "reference") return CreateReferenceBackend();
  return CreateCpuBackend({weights, num_threads, isa});
}

std::vector<BackendCase> AllBackendCases() {
  std::vector<BackendCase> cases = {{"reference", WeightFormat::kF32}};
  for (const WeightFormat weights : kCpuWeightFormats) {
    for (const std::string& isa : AvailableCpuIsas()) {
      // Not every CPU with AVX-512 has its bf16 and its int8 instructions.
      for (const KernelTable* table : AvailableKernels(weights)) {
        if (std::string(table->name).rfind(isa, 0) == 0) {
          cases.push_back({isa, weights});
          break;
        }
      }
    }
  }
  return cases;
}

std::vector<BackendCase> AttentionCases() { return AllBackendCases(); }
int PartitionTokens() { return static_cast<int>(kPartitionTokens); }
bool CanPackWeights(const BackendCase& backend) { return backend.isa != "reference"; }
bool QuantizesOperands(const BackendCase& backend) {
  return backend.weights == WeightFormat::kInt8 || backend.weights == WeightFormat::kInt4;
}

}  // namespace strata::kernels
