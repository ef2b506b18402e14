// The backend on a GPU that is open already.

#ifndef STRATA_KERNELS_CUDA_BACKEND_ON_DEVICE_H_
#define STRATA_KERNELS_CUDA_BACKEND_ON_DEVICE_H_

#include <memory>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.h"

namespace strata::kernels::cuda {

// options.device is the device's.
std::unique_ptr<Backend> CreateBackendOn(std::shared_ptr<Device> device,
                                         const CudaBackendOptions& options);

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_BACKEND_ON_DEVICE_H_
