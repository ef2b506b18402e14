#include "loadtest/generator/collector.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace strata::loadtest {

Second& Collector::At(double at_s) {
  const auto second = static_cast<size_t>(std::max(at_s, 0.0));
  if (second >= observations_.seconds.size()) {
    // Seconds in which nothing happened have as many calls in flight as those before.
    Second quiet;
    quiet.most_in_flight = progress_.in_flight;
    observations_.seconds.resize(second + 1, quiet);
  }
  return observations_.seconds[second];
}

void Collector::OnSent(double at_s) {
  std::lock_guard lock(mu_);
  ++progress_.sent;
  ++progress_.in_flight;
  Second& second = At(at_s);
  ++second.sent;
  second.most_in_flight = std::max(second.most_in_flight, progress_.in_flight);
}

void Collector::OnNotSent() {
  std::lock_guard lock(mu_);
  ++observations_.not_sent;
}

void Collector::OnTokens(double at_s, int num_tokens) {
  std::lock_guard lock(mu_);
  progress_.tokens += num_tokens;
  At(at_s).tokens += num_tokens;
}

void Collector::OnCallDone(CallRecord record) {
  std::lock_guard lock(mu_);
  if (record.due_s >= warmup_s_) {
    for (const float gap_s : record.token_gaps_s) observations_.gaps_s.Add(gap_s);
  }
  record.token_gaps_s = {};
  Second& second = At(record.end_s);
  ++second.done;
  ++progress_.done;
  if (!record.succeeded()) {
    ++second.failed;
    ++progress_.failed;
  }
  --progress_.in_flight;
  observations_.calls.push_back(std::move(record));
  done_.notify_one();
}

Collector::Progress Collector::progress() const {
  std::lock_guard lock(mu_);
  return progress_;
}

bool Collector::WaitUntilFewer(int64_t limit, std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mu_);
  return done_.wait_until(lock, deadline, [&] { return progress_.in_flight < limit; });
}

Observations Collector::Take() {
  std::lock_guard lock(mu_);
  return std::exchange(observations_, {});
}

}  // namespace strata::loadtest
