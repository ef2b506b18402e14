#include "server/watchdog.h"

#include <algorithm>
#include <utility>

namespace strata::server {
namespace {

std::chrono::milliseconds LookInterval(std::chrono::milliseconds timeout) {
  return std::clamp(timeout / 8, std::chrono::milliseconds(5), std::chrono::milliseconds(1000));
}

}  // namespace

bool StuckDetector::Look(Instant now, const EngineProgress& progress) {
  const bool moves = progress.rounds != rounds_;
  if (moves && rounds_ >= 0 && progress.busy) {
    // Several rounds may have ended since: none took longer than this.
    longest_ = std::max(now - last_progress_, longest_ - longest_ / 100);
  }
  if (moves || !progress.busy) last_progress_ = now;
  rounds_ = progress.rounds;
  return now - last_progress_ > std::max(floor_, kPatience * longest_);
}

Watchdog::Watchdog(std::chrono::milliseconds timeout, GetProgress get_progress, Report report)
    : detector_(timeout),
      task_(LookInterval(timeout),
            [this, get_progress = std::move(get_progress), report = std::move(report)] {
              report(detector_.Look(std::chrono::steady_clock::now(), get_progress()));
            }) {}

}  // namespace strata::server
