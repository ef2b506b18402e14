// The backend of NVIDIA GPUs.
//
// Deterministic: matrix products are computed by our own kernels in an order that does not
// depend on the number of rows, and every promise of backend.h holds. Otherwise f32, bf16 and f16
// products are cuBLAS's, which chooses its algorithm by the number of rows: then the bits of a
// row do depend on the rows beside it, so the same request may end differently in another batch
// or with other drafts, though each answer is as good. All other operations, and the products
// of int8 and int4 weights, are the same in both modes.

#ifndef STRATA_KERNELS_CUDA_CUDA_BACKEND_H_
#define STRATA_KERNELS_CUDA_CUDA_BACKEND_H_

#include <memory>

#include "kernels/backend.h"
#include "kernels/weight_format.h"

namespace strata::kernels {

struct CudaBackendOptions {
  WeightFormat weights = WeightFormat::kBF16;
  int device = 0;  // as CUDA numbers them
  bool deterministic = false;
  bool graphs = true;  // layers that run again with as many rows are played back from a recording
};

// Whether this build has it.
bool HasCudaBackend();

// KV and operands are FloatTypeOf(weights). In f16 what is beyond its range becomes its largest
// number, 65,504; weights beyond it are refused: loading them throws DeviceError.
// Throws DeviceError, with one message for people, if this build has no CUDA, or if there is no
// driver, no such GPU, or one that is too old.
std::unique_ptr<Backend> CreateCudaBackend(const CudaBackendOptions& options);

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CUDA_CUDA_BACKEND_H_
