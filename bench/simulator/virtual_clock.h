// Simulated time.

#ifndef STRATA_BENCH_SIMULATOR_VIRTUAL_CLOCK_H_
#define STRATA_BENCH_SIMULATOR_VIRTUAL_CLOCK_H_

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

#include "engine/clock.h"

namespace strata::sim {

inline Duration ToDuration(double seconds) {
  return std::chrono::nanoseconds(static_cast<int64_t>(std::llround(seconds * 1e9)));
}
inline double ToSeconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// Stands still unless it is moved, in whole nanoseconds. Begins at zero.
class VirtualClock final : public Clock {
 public:
  Instant Now() const override { return now_; }
  double NowSeconds() const { return ToSeconds(now_.time_since_epoch()); }
  void Advance(double seconds) { now_ += ToDuration(seconds); }
  void Restart() { now_ = {}; }
  // Never back.
  void AdvanceTo(Instant instant) { now_ = std::max(now_, instant); }

 private:
  Instant now_{};
};

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_VIRTUAL_CLOCK_H_
