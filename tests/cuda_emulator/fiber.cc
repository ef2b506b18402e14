#include "tests/cuda_emulator/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif defined(STRATA_RACE_CHECK)
#include <sanitizer/tsan_interface.h>
#endif

extern "C" void strata_switch_fiber(void** save_stack_pointer, void* stack_pointer);

// Saves what the ABI lets a callee keep, and takes up another stack.
asm(R"(
.text
.globl strata_switch_fiber
.type strata_switch_fiber, @function
strata_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size strata_switch_fiber, .-strata_switch_fiber
)");

namespace strata::cuda_emulator {
namespace {

constexpr size_t kStackBytes = 128 << 10;
constexpr size_t kGuardBytes = 4096;
constexpr int kSavedRegisters = 6;
[[maybe_unused]] constexpr size_t kLastFrameBytes = 8 << 10;

[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "cuda_emulator: %s\n", what);
  std::abort();
}

}  // namespace

Fiber::Fiber() {
  pthread_attr_t attributes;
  void* bottom = nullptr;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) Die("no attributes of this thread");
  pthread_attr_getstack(&attributes, &bottom, &stack_bytes_);
  pthread_attr_destroy(&attributes);
  stack_bottom_ = bottom;
#if defined(STRATA_RACE_CHECK)
  sanitizer_state_ = __tsan_get_current_fiber();
#endif
}

Fiber::Fiber(void (*entry)()) : entry_(entry), stack_bytes_(kStackBytes) {
  mapping_ = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) Die("no memory for a thread's stack");
  mprotect(mapping_, kGuardBytes, PROT_NONE);
  stack_bottom_ = static_cast<char*>(mapping_) + kGuardBytes;
#if defined(STRATA_RACE_CHECK)
  sanitizer_state_ = __tsan_create_fiber(0);
#endif
  Restart();
}

Fiber::~Fiber() {
  if (mapping_ == nullptr) return;
#if defined(STRATA_RACE_CHECK)
  __tsan_destroy_fiber(sanitizer_state_);
#endif
#if defined(__SANITIZE_ADDRESS__)
  // AddressSanitizer keeps marks beyond a mapping's end: whatever comes to lie here must be free of
  // those of functions that never returned.
  __asan_unpoison_memory_region(mapping_, kStackBytes + kGuardBytes);
#endif
  munmap(mapping_, kStackBytes + kGuardBytes);
}

void Fiber::Restart() {
  // As strata_switch_fiber leaves a stack: registers, then where to return to. At a function's
  // entry the stack pointer is 8 below a multiple of 16.
  char* top = static_cast<char*>(const_cast<void*>(stack_bottom_)) + stack_bytes_;
#if defined(__SANITIZE_ADDRESS__)
  // The functions in which a thread has ended never returned, and left their marks.
  __asan_unpoison_memory_region(top - kLastFrameBytes, kLastFrameBytes);
#endif
  auto* words = reinterpret_cast<uintptr_t*>(top) - 2;
  *words = reinterpret_cast<uintptr_t>(entry_);
  for (int i = 0; i < kSavedRegisters; ++i) *--words = 0;
  stack_pointer_ = words;
}

void Fiber::Switch(Fiber& from, Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.sanitizer_state_, to.stack_bottom_, to.stack_bytes_);
#elif defined(STRATA_RACE_CHECK)
  // Other fibers' writes are no news: only barriers order them.
  __tsan_switch_to_fiber(to.sanitizer_state_, __tsan_switch_to_fiber_no_sync);
#endif
  strata_switch_fiber(&from.stack_pointer_, to.stack_pointer_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.sanitizer_state_, nullptr, nullptr);
#endif
}

void Fiber::Entered() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

}  // namespace strata::cuda_emulator
