#include "tests/cuda_emulator/device_memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "tests/cuda_emulator/emulator.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace strata::cuda_emulator {
namespace {

struct Allocation {
  size_t size = 0;
  int device = 0;
};

struct Memory {
  std::mutex mu;
  std::map<uintptr_t, Allocation> device;  // by where it begins
  std::set<uintptr_t> pinned;
  int at_work = 0;
};

Memory& Instance() {
  static Memory memory;
  return memory;
}

void Forbid([[maybe_unused]] uintptr_t at, [[maybe_unused]] size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(at), size);
#endif
}
void Allow([[maybe_unused]] uintptr_t at, [[maybe_unused]] size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void*>(at), size);
#endif
}

size_t UsedBytesLocked(const Memory& memory, int device) {
  size_t used = 0;
  for (const auto& [at, allocation] : memory.device) {
    if (allocation.device == device) used += allocation.size;
  }
  return used;
}

void* AllocateNan(size_t size, size_t alignment) {
  void* data = nullptr;
  if (posix_memalign(&data, alignment, size) != 0) return nullptr;
  std::memset(data, 0xff, size);
  return data;
}

// The allocation that `data` points into; end() if none.
std::map<uintptr_t, Allocation>::const_iterator Find(const Memory& memory, const void* data) {
  const auto at = reinterpret_cast<uintptr_t>(data);
  auto after = memory.device.upper_bound(at);
  if (after == memory.device.begin()) return memory.device.end();
  --after;
  return at < after->first + after->second.size ? after : memory.device.end();
}

}  // namespace

void* AllocateDevice(int device, size_t size) {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  const size_t total = CurrentSettings().memory_bytes;
  if (size > total || UsedBytesLocked(memory, device) > total - size) return nullptr;
  void* data = AllocateNan(size, 256);
  if (data == nullptr) return nullptr;
  const auto at = reinterpret_cast<uintptr_t>(data);
  memory.device[at] = {size, device};
  if (memory.at_work == 0) Forbid(at, size);
  return data;
}

void* AllocatePinned(size_t size) {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  void* data = AllocateNan(size, 256);
  if (data != nullptr) memory.pinned.insert(reinterpret_cast<uintptr_t>(data));
  return data;
}

bool FreeDevice(void* data) {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  const auto found = memory.device.find(reinterpret_cast<uintptr_t>(data));
  if (found == memory.device.end()) return false;
  Allow(found->first, found->second.size);
  memory.device.erase(found);
  std::free(data);
  return true;
}

bool FreePinned(void* data) {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  if (memory.pinned.erase(reinterpret_cast<uintptr_t>(data)) == 0) return false;
  std::free(data);
  return true;
}

size_t UsedBytes(int device) {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  return UsedBytesLocked(memory, device);
}

size_t NumAllocations() {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  return memory.device.size() + memory.pinned.size();
}

bool IsDeviceMemory(const void* data) {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  return Find(memory, data) != memory.device.end();
}

bool IsPinnedMemory(const void* data) {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  return memory.pinned.count(reinterpret_cast<uintptr_t>(data)) > 0;
}

bool IsWithinAllocation(const void* data, size_t size) {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  const auto found = Find(memory, data);
  if (found == memory.device.end()) return true;
  return reinterpret_cast<uintptr_t>(data) + size <= found->first + found->second.size;
}

DeviceAtWork::DeviceAtWork() {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  if (memory.at_work++ > 0) return;
  for (const auto& [at, allocation] : memory.device) Allow(at, allocation.size);
}

DeviceAtWork::~DeviceAtWork() {
  Memory& memory = Instance();
  const std::lock_guard lock(memory.mu);
  if (--memory.at_work > 0) return;
  for (const auto& [at, allocation] : memory.device) Forbid(at, allocation.size);
}

}  // namespace strata::cuda_emulator
