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
  const bool is_first = rounds_ < 0;
  const bool moves = progress.rounds != rounds_;
  if (!is_first) waited_ += std::min(now - last_look_, floor_ / 4);
  // Several rounds may have ended since the last look: none took longer than this.
  if (moves && !is_first) longest_ = std::max(waited_, longest_ - longest_ / 100);
  if (moves || !progress.busy) waited_ = {};
  rounds_ = progress.rounds;
  last_look_ = now;
  return waited_ > std::max(floor_, kPatience * longest_);
}

Watchdog::Watchdog(std::chrono::milliseconds timeout, GetProgress get_progress, Report report)
    : detector_(timeout),
      task_(LookInterval(timeout),
            [this, get_progress = std::move(get_progress), report = std::move(report)] {
              report(detector_.Look(std::chrono::steady_clock::now(), get_progress()));
            }) {}

}  // namespace strata::server
