// A clock that stands still until it is told.

#ifndef STRATA_TESTS_ENGINE_UNIT_MANUAL_CLOCK_H_
#define STRATA_TESTS_ENGINE_UNIT_MANUAL_CLOCK_H_

#include <atomic>
#include <chrono>

#include "engine/clock.h"

namespace strata {

class ManualClock final : public Clock {
 public:
  Instant Now() const override { return Instant(Duration(ticks_.load())); }
  void Advance(Duration by) { ticks_ += by.count(); }

 private:
  std::atomic<Duration::rep> ticks_{Duration(std::chrono::hours(1)).count()};
};

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_UNIT_MANUAL_CLOCK_H_
