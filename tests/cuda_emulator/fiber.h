// A stack of its own for a thread of a block.

#ifndef STRATA_TESTS_CUDA_EMULATOR_FIBER_H_
#define STRATA_TESTS_CUDA_EMULATOR_FIBER_H_

#include <cstddef>

namespace strata::cuda_emulator {

class Fiber {
 public:
  // The stack that the calling OS thread runs on.
  Fiber();
  // A stack that starts in `entry`, which must never return, at the first switch to it.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next switch to it starts `entry` again.
  void Restart();
  // Leaves `from`, which is running; returns when somebody switches back to it.
  static void Switch(Fiber& from, Fiber& to);
  // To be called first by `entry`.
  static void Entered();

 private:
  void* stack_pointer_ = nullptr;
  void (*entry_)() = nullptr;
  void* mapping_ = nullptr;
  const void* stack_bottom_ = nullptr;  // lowest address
  size_t stack_bytes_ = 0;
  void* sanitizer_state_ = nullptr;
};

}  // namespace strata::cuda_emulator

#endif  // STRATA_TESTS_CUDA_EMULATOR_FIBER_H_
