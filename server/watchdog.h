// Notices that the engine is stuck: a round has begun and does not end.

#ifndef STRATA_SERVER_WATCHDOG_H_
#define STRATA_SERVER_WATCHDOG_H_

#include <chrono>
#include <cstdint>
#include <functional>

#include "engine/clock.h"
#include "server/periodic_task.h"

namespace strata::server {

// How far the engine has come.
struct EngineProgress {
  bool busy = false;   // a round is under way
  int64_t rounds = 0;  // that have ended
};

// The judgement alone, from looks at the engine now and then. A round is expected to take as long
// as the longest of late, and is stuck when it takes kPatience times that, and `floor` at least.
//
// The policy's cost model predicts a round's time, too, and is not asked: it is the step thread's
// own, with no lock, and knows what a round will have been, of which drafts decide as they go; it
// knows the model's work alone, and a round also waits for memory, disks and other processes; and
// it is profiled, or read from a file, by the engine that is in doubt here, so that what it gets
// wrong would be an alarm for nothing, or none. A round that has ended did take that long.
class StuckDetector {
 public:
  static constexpr int kPatience = 10;

  explicit StuckDetector(Duration floor) : floor_(floor) {}

  // Whether the engine is stuck. `now` never goes back.
  bool Look(Instant now, const EngineProgress& progress);

 private:
  const Duration floor_;
  int64_t rounds_ = -1;  // at the last look
  Instant last_look_;
  Duration waited_{};   // for this round
  Duration longest_{};  // wait of late: each that is shorter takes a hundredth off it
};

class Watchdog {
 public:
  using GetProgress = std::function<EngineProgress()>;
  // Called after each look, on the watchdog's thread.
  using Report = std::function<void(bool stuck)>;

  // Looks several times within `timeout`, at least once a second.
  Watchdog(std::chrono::milliseconds timeout, GetProgress get_progress, Report report);

 private:
  StuckDetector detector_;
  PeriodicTask task_;  // last: uses all of the above
};

}  // namespace strata::server

#endif  // STRATA_SERVER_WATCHDOG_H_
