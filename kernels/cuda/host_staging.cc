#include "kernels/cuda/host_staging.h"

#include <cuda_runtime_api.h>

#include <utility>

#include "kernels/cuda/cuda_error.h"

namespace strata::kernels::cuda {

HostStaging::HostStaging(cudaStream_t stream, int num_buffers,
                         std::function<void(cudaEvent_t)> wait)
    : stream_(stream), wait_(std::move(wait)), slots_(num_buffers) {}

HostStaging::~HostStaging() {
  for (const Slot& slot : slots_) {
    if (slot.sent == nullptr) continue;
    cudaEventSynchronize(slot.sent);
    cudaEventDestroy(slot.sent);
    cudaFreeHost(slot.data);
  }
}

void* HostStaging::Begin(size_t size) {
  Slot& slot = slots_[next_];
  if (slot.sent == nullptr) {
    Check(cudaEventCreateWithFlags(&slot.sent, cudaEventDisableTiming), "creating an event");
  }
  wait_(slot.sent);
  if (slot.size < size) {
    cudaFreeHost(slot.data);
    slot.data = nullptr;
    slot.size = 0;
    Check(cudaMallocHost(&slot.data, size), "allocating pinned host memory");
    slot.size = size;
  }
  return slot.data;
}

void HostStaging::Send(void* device, size_t size) {
  const Slot& slot = slots_[next_];
  Check(cudaMemcpyAsync(device, slot.data, size, cudaMemcpyHostToDevice, stream_),
        "copying to the device");
  Check(cudaEventRecord(slot.sent, stream_), "recording an event");
  next_ = (next_ + 1) % slots_.size();
}

}  // namespace strata::kernels::cuda
