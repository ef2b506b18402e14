#include "kernels/cpu/cpu_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/backend.h"

namespace strata::kernels {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kMapFrom = 2 * kHugePage;

size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

[[noreturn]] void ThrowOutOfMemory(size_t size_bytes) {
  throw DeviceError("cannot allocate " + std::to_string(size_bytes) + " bytes of host memory");
}

Buffer MapHuge(size_t size_bytes) {
  // Mapped with room to align, then trimmed.
  const size_t size = RoundUp(size_bytes, kHugePage);
  void* mapped =
      mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) ThrowOutOfMemory(size_bytes);
  char* start = static_cast<char*>(mapped);
  const size_t head =
      RoundUp(reinterpret_cast<uintptr_t>(start), kHugePage) - reinterpret_cast<uintptr_t>(start);
  if (head > 0) munmap(start, head);
  if (head < kHugePage) munmap(start + head + size, kHugePage - head);
  char* data = start + head;
  madvise(data, size, MADV_HUGEPAGE);  // a wish: small pages work too
  return Buffer(data, size_bytes, [size](void* p) { munmap(p, size); });
}

}  // namespace

Buffer AllocateHost(size_t size_bytes) {
  if (size_bytes > SIZE_MAX / 2) ThrowOutOfMemory(size_bytes);
  if (size_bytes >= kMapFrom) return MapHuge(size_bytes);
  const size_t size = RoundUp(size_bytes > 0 ? size_bytes : 1, kAlignment);
  void* data = std::aligned_alloc(kAlignment, size);
  if (data == nullptr) ThrowOutOfMemory(size_bytes);
  std::memset(data, 0, size);
  return Buffer(data, size_bytes, [](void* p) { std::free(p); });
}

}  // namespace strata::kernels
