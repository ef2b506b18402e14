// Sums of the recent past, for load reports.

#ifndef STRATA_ENGINE_RATE_METER_H_
#define STRATA_ENGINE_RATE_METER_H_

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>

#include "engine/clock.h"

namespace strata {

// Counts over a sliding window of ten one-second slots. Not thread-safe.
class RateMeter {
 public:
  static constexpr int kWindowSeconds = 10;

  void Add(Instant now, double amount) {
    Advance(now);
    slots_[Index(second_)] += amount;
  }

  // The sum of what was added in the current second and the nine before.
  double Sum(Instant now) {
    Advance(now);
    double sum = 0;
    for (const double slot : slots_) sum += slot;
    return sum;
  }

 private:
  static size_t Index(int64_t second) { return static_cast<size_t>(second % kWindowSeconds); }

  void Advance(Instant now) {
    const int64_t second =
        std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
    const int64_t steps = std::min<int64_t>(second - second_, kWindowSeconds);
    for (int64_t i = 1; i <= steps; ++i) slots_[Index(second - steps + i)] = 0;
    if (steps > 0) second_ = second;
  }

  std::array<double, kWindowSeconds> slots_{};
  int64_t second_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_RATE_METER_H_
