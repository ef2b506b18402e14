// Time, passed in so that tests and simulations can set it.

#ifndef STRATA_ENGINE_CLOCK_H_
#define STRATA_ENGINE_CLOCK_H_

#include <chrono>

namespace strata {

using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

// Safe to use from several threads.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
};

class SteadyClock final : public Clock {
 public:
  Instant Now() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace strata

#endif  // STRATA_ENGINE_CLOCK_H_
