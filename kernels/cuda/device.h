// One GPU: chosen, checked, with a stream and memory in the stream's order.

#ifndef STRATA_KERNELS_CUDA_DEVICE_H_
#define STRATA_KERNELS_CUDA_DEVICE_H_

#include <driver_types.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "kernels/cuda/host_staging.h"
#include "kernels/tensor.h"

namespace strata::kernels::cuda {

// Throws DeviceError with one message that says what is wrong and what to do, unless this machine
// has a driver for our CUDA and at least `needed` GPUs.
void CheckDevices(int needed);

// Used from one thread at a time. All throw DeviceError.
class Device {
 public:
  // Checks that the GPU `index` is there and new enough.
  static std::shared_ptr<Device> Open(int index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& name() const { return name_; }
  int index() const { return index_; }
  int num_processors() const { return num_processors_; }
  cudaStream_t stream() const { return stream_; }

  // Makes it the calling thread's device. Every operation of a backend begins so: one thread may
  // use several.
  void Select() const;

  // Memory that is given back in the stream's order. It keeps the device open.
  static Buffer Allocate(const std::shared_ptr<Device>& device, size_t size_bytes);
  static Buffer AllocateZeroed(const std::shared_ptr<Device>& device, size_t size_bytes);

  // Does not wait for the copy, nor keep `host`; waits for earlier ones only if the pinned
  // buffers are all in use.
  void Upload(void* device, std::span<const std::byte> host);
  void Synchronize() const;

  // Whoever waits for this device calls `watch` again and again, with the time waited so far; what
  // it throws ends the wait. Null: none.
  using Watch = std::function<void(std::chrono::steady_clock::duration)>;
  void WatchWhileWaiting(Watch watch) { watch_ = std::move(watch); }

 private:
  explicit Device(int index);
  void WaitFor(cudaEvent_t event) const;
  // `query` is cudaErrorNotReady as long as there is something to wait for.
  void WatchUntil(const std::function<cudaError_t()>& query) const;

  const int index_;
  std::string name_;
  int num_processors_ = 0;
  cudaStream_t stream_ = nullptr;
  Watch watch_;
  std::unique_ptr<HostStaging> staging_;   // of large uploads
  std::unique_ptr<HostStaging> messages_;  // of small ones
};

// Device memory that grows when more is asked for; what it held is then lost.
class Scratch {
 public:
  void* Get(const std::shared_ptr<Device>& device, size_t size_bytes) {
    if (buffer_.size_bytes() < size_bytes) {
      buffer_ = Buffer();
      buffer_ = Device::Allocate(device, size_bytes);
    }
    return buffer_.data();
  }
  const void* data() const { return buffer_.data(); }

 private:
  Buffer buffer_;
};

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_DEVICE_H_
