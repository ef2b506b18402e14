// Memory of emulated devices, and pinned memory of the host.

#ifndef STRATA_TESTS_CUDA_EMULATOR_DEVICE_MEMORY_H_
#define STRATA_TESTS_CUDA_EMULATOR_DEVICE_MEMORY_H_

#include <cstddef>

namespace strata::cuda_emulator {

// Safe from several threads.

// Exactly `size` bytes, full of NaN, aligned to 256. Null if the device has no room. Host code
// that touches them is stopped by AddressSanitizer.
void* AllocateDevice(int device, size_t size);
void* AllocatePinned(size_t size);
// False if `data` is no such memory.
bool FreeDevice(void* data);
bool FreePinned(void* data);

// The device's memory in use.
size_t UsedBytes(int device);
size_t NumAllocations();
bool IsDeviceMemory(const void* data);
bool IsPinnedMemory(const void* data);
// False if the bytes begin in device memory and do not end in the same allocation.
bool IsWithinAllocation(const void* data, size_t size);

// While one exists, device memory may be touched: a device is at work.
class DeviceAtWork {
 public:
  DeviceAtWork();
  ~DeviceAtWork();
  DeviceAtWork(const DeviceAtWork&) = delete;
  DeviceAtWork& operator=(const DeviceAtWork&) = delete;
};

}  // namespace strata::cuda_emulator

#endif  // STRATA_TESTS_CUDA_EMULATOR_DEVICE_MEMORY_H_
