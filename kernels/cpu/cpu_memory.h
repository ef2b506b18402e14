// Zero-filled host memory for weights, KV and activations.

#ifndef STRATA_KERNELS_CPU_CPU_MEMORY_H_
#define STRATA_KERNELS_CPU_CPU_MEMORY_H_

#include <cstddef>

#include "kernels/tensor.h"

namespace strata::kernels {

// Aligned to 64 bytes, large ones to 2 MiB with huge pages asked for: streaming
// weights is bound by bandwidth, and 4 KiB pages cost a page walk each. Pages
// are first touched by whoever writes them. Throws DeviceError.
Buffer AllocateHost(size_t size_bytes);

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_CPU_MEMORY_H_
