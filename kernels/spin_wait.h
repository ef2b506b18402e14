// Waiting for other threads that are likely to be ready at once.

#ifndef STRATA_KERNELS_SPIN_WAIT_H_
#define STRATA_KERNELS_SPIN_WAIT_H_

#include <atomic>
#include <chrono>
#include <cstdint>

namespace strata::kernels {

// Longer than the serial gaps between the operations of a layer, short enough
// that an idle server takes no CPU time.
inline constexpr std::chrono::microseconds kSpinTime{40};

inline void PauseCpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until ready(), for kSpinTime at most. Returns whether it was.
template <typename Ready>
bool SpinUntil(const Ready& ready) {
  const auto give_up = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return true;
      PauseCpu();
    }
  } while (std::chrono::steady_clock::now() < give_up);
  return false;
}

// Returns once `value` is no longer `old`: spins a while, then parks.
inline void WaitWhileEqual(const std::atomic<uint32_t>& value, uint32_t old) {
  const auto changed = [&] { return value.load(std::memory_order_acquire) != old; };
  if (SpinUntil(changed)) return;
  while (!changed()) value.wait(old, std::memory_order_acquire);
}

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_SPIN_WAIT_H_
