// The CPU backend: weights packed once at load, one instruction-set-specific
// kernel table chosen once, work split over a thread pool.

#ifndef STRATA_KERNELS_CPU_CPU_BACKEND_H_
#define STRATA_KERNELS_CPU_CPU_BACKEND_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "kernels/weight_format.h"

namespace strata::kernels {

// What CPUs have kernels for.
inline constexpr WeightFormat kCpuWeightFormats[] = {WeightFormat::kF32, WeightFormat::kBF16,
                                                     WeightFormat::kInt8, WeightFormat::kInt4};

struct CpuBackendOptions {
  WeightFormat weights = WeightFormat::kBF16;  // KV is held as FloatTypeOf(weights)
  int num_threads = 0;  // the caller's thread counts; 0: one per available core
  // "generic", "avx2", "avx512" (f32 weights only need avx512f; bf16 weights need avx512_bf16),
  // or empty: what the environment variable STRATA_CPU_ISA says, else the best this CPU has.
  std::string isa;
  std::vector<int> cores = {};  // that the backend's own threads run on; empty: any
  // Each thread stays on a core of its own: thread i on cores[i], one for each (CreateCpuRanks
  // chooses them).
  bool pin_threads = false;
};

// Throws DeviceError if `isa` is unknown or the CPU lacks it, or if `weights` is not among
// kCpuWeightFormats.
std::unique_ptr<Backend> CreateCpuBackend(const CpuBackendOptions& options);

// The sets this CPU can run, worst first: "generic" is always there.
std::vector<std::string> AvailableCpuIsas();

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_CPU_BACKEND_H_
