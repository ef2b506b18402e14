#include "kernels/cuda/device.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>

#include "kernels/backend.h"
#include "kernels/cuda/cuda_error.h"

namespace strata::kernels::cuda {
namespace {

constexpr int kOldestMajor = 8;  // bf16 in tensor cores
constexpr int kStagingBuffers = 4;
constexpr size_t kStagingBytes = size_t{4} << 20;
// What a round sends, and more of it than one round has, so that nothing waits for a buffer that
// is on its way.
constexpr int kMessageBuffers = 1024;
constexpr size_t kMessageBytes = size_t{64} << 10;

std::string Version(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string Gigabytes(size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f GiB", static_cast<double>(bytes) / (size_t{1} << 30));
  return text;
}

[[noreturn]] void ThrowOutOfMemory(const Device& device, size_t size_bytes) {
  cudaGetLastError();
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  cudaMemGetInfo(&free_bytes, &total_bytes);
  throw DeviceError("GPU " + std::to_string(device.index()) + " (" + device.name() +
                    ") is out of memory: " + std::to_string(size_bytes) + " bytes (" +
                    Gigabytes(size_bytes) + ") are needed, " + Gigabytes(free_bytes) + " of " +
                    Gigabytes(total_bytes) + " are free");
}

}  // namespace

void CheckDevices(int needed) {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  // Minor versions of one major version work together.
  const int oldest_driver = CUDART_VERSION / 1000 * 1000;
  if (driver == 0) {
    throw DeviceError(
        "no CUDA device is present: this machine has no NVIDIA driver loaded; install one for "
        "CUDA " +
        Version(oldest_driver) + " or newer, or use the CPU");
  }
  if (driver < oldest_driver) {
    throw DeviceError("the NVIDIA driver is too old: it supports CUDA " + Version(driver) +
                      ", and this build needs " + Version(oldest_driver) +
                      "; install a newer driver, or use the CPU");
  }
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    throw DeviceError("no CUDA device is present, though there is an NVIDIA driver; use the CPU");
  }
  Check(error, "counting devices");
  if (count < needed) {
    throw DeviceError("too few CUDA devices: " + std::to_string(needed) +
                      " are needed, this machine has " + std::to_string(count));
  }
}

std::shared_ptr<Device> Device::Open(int index) {
  CheckDevices(index + 1);
  return std::shared_ptr<Device>(new Device(index));
}

Device::Device(int index) : index_(index) {
  cudaDeviceProp properties;
  Check(cudaGetDeviceProperties(&properties, index), "reading a device's properties");
  name_ = properties.name;
  num_processors_ = properties.multiProcessorCount;
  if (properties.major < kOldestMajor) {
    throw DeviceError("GPU " + std::to_string(index) + " (" + name_ +
                      ") is too old: it has compute capability " +
                      std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                      ", and this build needs 8.0 or newer");
  }
  Select();
  Check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  const auto wait = [this](cudaEvent_t event) { WaitFor(event); };
  staging_ = std::make_unique<HostStaging>(stream_, kStagingBuffers, wait);
  messages_ = std::make_unique<HostStaging>(stream_, kMessageBuffers, wait);
}

Device::~Device() {
  cudaSetDevice(index_);
  staging_.reset();
  messages_.reset();
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

void Device::Select() const { Check(cudaSetDevice(index_), "selecting a device"); }

Buffer Device::Allocate(const std::shared_ptr<Device>& device, size_t size_bytes) {
  device->Select();
  void* data = nullptr;
  // An empty buffer has an address, too.
  const cudaError_t error =
      cudaMallocAsync(&data, std::max<size_t>(size_bytes, 1), device->stream_);
  if (error == cudaErrorMemoryAllocation || size_bytes > SIZE_MAX / 2) {
    ThrowOutOfMemory(*device, size_bytes);
  }
  Check(error, "allocating memory");
  return Buffer(data, size_bytes, [device](void* p) {
    cudaSetDevice(device->index_);
    cudaFreeAsync(p, device->stream_);
  });
}

Buffer Device::AllocateZeroed(const std::shared_ptr<Device>& device, size_t size_bytes) {
  Buffer buffer = Allocate(device, size_bytes);
  Check(cudaMemsetAsync(buffer.data(), 0, size_bytes, device->stream_), "clearing memory");
  return buffer;
}

void Device::Upload(void* device, std::span<const std::byte> host) {
  HostStaging& staging = host.size() <= kMessageBytes ? *messages_ : *staging_;
  for (size_t at = 0; at < host.size(); at += kStagingBytes) {
    const size_t size = std::min(kStagingBytes, host.size() - at);
    std::memcpy(staging.Begin(size), host.data() + at, size);
    staging.Send(static_cast<std::byte*>(device) + at, size);
  }
}

void Device::Synchronize() const {
  if (watch_) WatchUntil([this] { return cudaStreamQuery(stream_); });
  Check(cudaStreamSynchronize(stream_), "waiting for the GPU");
}

void Device::WaitFor(cudaEvent_t event) const {
  if (watch_) WatchUntil([event] { return cudaEventQuery(event); });
  Check(cudaEventSynchronize(event), "waiting for a copy to the GPU");
}

void Device::WatchUntil(const std::function<cudaError_t()>& query) const {
  const auto start = std::chrono::steady_clock::now();
  cudaError_t state;
  while ((state = query()) == cudaErrorNotReady) {
    watch_(std::chrono::steady_clock::now() - start);
    std::this_thread::yield();
  }
  Check(state, "waiting for the GPU");
  watch_({});  // what has come to its end may have been ended
}

}  // namespace strata::kernels::cuda
