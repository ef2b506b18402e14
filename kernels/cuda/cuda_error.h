// CUDA's error codes as DeviceError.

#ifndef STRATA_KERNELS_CUDA_CUDA_ERROR_H_
#define STRATA_KERNELS_CUDA_CUDA_ERROR_H_

#include <driver_types.h>

namespace strata::kernels::cuda {

// Throws DeviceError that says "<doing>: <what CUDA says>", unless `error` is success.
void Check(cudaError_t error, const char* doing);

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_CUDA_ERROR_H_
