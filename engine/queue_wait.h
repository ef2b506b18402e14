// How long a request that is submitted now would wait until it starts.

#ifndef STRATA_ENGINE_QUEUE_WAIT_H_
#define STRATA_ENGINE_QUEUE_WAIT_H_

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "engine/clock.h"

namespace strata {

// From how fast samples have ended while others waited, over the last ten seconds or so of such
// time: what ended while there was room for all says nothing. Not thread-safe.
class QueueWait {
 public:
  // Now, after `num_ended` more have ended, `num_waiting` wait.
  void Note(Instant now, int num_ended, int num_waiting) {
    if (waited_) {
      const double seconds = std::max(0.0, Seconds(now - noted_));
      const double kept = std::exp(-seconds / kMemorySeconds);
      seconds_ = kept * seconds_ + seconds;
      ended_ = kept * ended_ + num_ended;
    }
    waited_ = num_waiting > 0;
    noted_ = now;
  }

  // Until `num_ahead` more have ended. nullopt: too little has been seen.
  std::optional<Duration> For(int num_ahead) const {
    if (num_ahead <= 0) return Duration::zero();
    if (seconds_ < kLeastSeconds) return std::nullopt;
    // If none has ended yet, the first may do so now.
    return std::chrono::duration_cast<Duration>(
        std::chrono::duration<double>(num_ahead * seconds_ / std::max(ended_, 1.0)));
  }

 private:
  static constexpr double kMemorySeconds = 10;
  static constexpr double kLeastSeconds = 0.25;

  static double Seconds(Duration duration) {
    return std::chrono::duration<double>(duration).count();
  }

  bool waited_ = false;
  Instant noted_;
  double seconds_ = 0, ended_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_QUEUE_WAIT_H_
