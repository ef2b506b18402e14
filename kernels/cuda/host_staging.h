// Pinned host memory through which bytes reach the device.

#ifndef STRATA_KERNELS_CUDA_HOST_STAGING_H_
#define STRATA_KERNELS_CUDA_HOST_STAGING_H_

#include <driver_types.h>

#include <cstddef>
#include <functional>
#include <vector>

namespace strata::kernels::cuda {

// A ring of buffers: while one is on its way to the device, the next is filled. Used from one
// thread. Throws DeviceError.
class HostStaging {
 public:
  // `stream` must outlive it. `wait` returns when an event has come.
  HostStaging(cudaStream_t stream, int num_buffers, std::function<void(cudaEvent_t)> wait);
  ~HostStaging();
  HostStaging(const HostStaging&) = delete;
  HostStaging& operator=(const HostStaging&) = delete;

  // Memory of `size` bytes to be filled, valid until Send. Waits until an earlier buffer has left
  // if all are on their way.
  void* Begin(size_t size);
  // Sends what the last Begin gave to `device`, in the stream's order, and does not wait.
  void Send(void* device, size_t size);

 private:
  struct Slot {
    void* data = nullptr;
    size_t size = 0;
    cudaEvent_t sent = nullptr;
  };
  const cudaStream_t stream_;
  const std::function<void(cudaEvent_t)> wait_;
  std::vector<Slot> slots_;
  size_t next_ = 0;
};

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_HOST_STAGING_H_
