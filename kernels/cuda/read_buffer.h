// Pinned host memory that results are read back into.

#ifndef STRATA_KERNELS_CUDA_READ_BUFFER_H_
#define STRATA_KERNELS_CUDA_READ_BUFFER_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "kernels/cuda/cuda_error.h"

namespace strata::kernels::cuda {

// Grows when more is asked for; what it held is then lost.
class ReadBuffer {
 public:
  ReadBuffer() = default;
  ~ReadBuffer() { cudaFreeHost(data_); }
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;

  void* Get(size_t size_bytes) {
    if (size_bytes_ < size_bytes) {
      cudaFreeHost(std::exchange(data_, nullptr));
      size_bytes_ = 0;
      Check(cudaMallocHost(&data_, size_bytes), "allocating pinned host memory");
      size_bytes_ = size_bytes;
    }
    return data_;
  }

 private:
  void* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_READ_BUFFER_H_
