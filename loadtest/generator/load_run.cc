#include "loadtest/generator/load_run.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace strata::loadtest {
namespace {

// How soon a stop is noticed.
constexpr double kPoll_s = 0.05;
// Longer than any call may take.
constexpr double kForever_s = 1e6;

}  // namespace

LoadRun::LoadRun(const LoadSettings& settings,
                 std::vector<std::unique_ptr<v1::Inference::Stub>> stubs, CallPlanner* planner,
                 Arrivals* arrivals, Collector* collector)
    : settings_(settings),
      end_s_(settings.warmup_s + settings.duration_s),
      stubs_(std::move(stubs)),
      planner_(planner),
      arrivals_(arrivals),
      collector_(collector) {}

double LoadRun::Run(const std::atomic<bool>& stop) {
  while (const std::optional<Arrival> arrival = WaitForNext(stop)) {
    const bool is_open = settings_.concurrency == 0;
    if (is_open && collector_->progress().in_flight >= settings_.max_in_flight) {
      collector_->OnNotSent();
    } else {
      Send(*arrival);
    }
  }
  const bool is_early = stopwatch_.Seconds() < end_s_;
  // Each call in flight ends by its deadline at the latest.
  collector_->WaitUntilFewer(1, stopwatch_.At(end_s_ + kForever_s));
  return is_early ? std::min(stopwatch_.Seconds(), end_s_) : end_s_;
}

bool LoadRun::SleepUntil(double at_s, const std::atomic<bool>& stop) const {
  while (!stop && stopwatch_.Seconds() < at_s) {
    std::this_thread::sleep_until(stopwatch_.At(std::min(at_s, stopwatch_.Seconds() + kPoll_s)));
  }
  return !stop;
}

std::optional<Arrival> LoadRun::WaitForNext(const std::atomic<bool>& stop) {
  if (settings_.max_calls > 0 && num_due_ >= settings_.max_calls) return std::nullopt;
  ++num_due_;
  if (settings_.concurrency == 0) {
    const std::optional<Arrival> arrival = arrivals_->Next();
    if (arrival && arrival->due_s >= end_s_) {
      SleepUntil(end_s_, stop);
      return std::nullopt;
    }
    if (!arrival) return std::nullopt;
    if (!SleepUntil(arrival->due_s, stop)) return std::nullopt;
    return arrival;
  }
  while (!collector_->WaitUntilFewer(settings_.concurrency,
                                     stopwatch_.At(stopwatch_.Seconds() + kPoll_s))) {
    if (stop || stopwatch_.Seconds() >= end_s_) return std::nullopt;
  }
  const double now_s = stopwatch_.Seconds();
  if (stop || now_s >= end_s_) return std::nullopt;
  return Arrival{now_s, std::nullopt, std::nullopt};
}

void LoadRun::Send(const Arrival& arrival) {
  const PlannedCall call = planner_->Next(arrival);
  CallRecord record;
  record.index = num_due_ - 1;
  record.entry = call.entry;
  record.due_s = arrival.due_s;
  collector_->OnSent(stopwatch_.Seconds());
  v1::Inference::Stub* stub = stubs_[static_cast<size_t>(record.index) % stubs_.size()].get();
  StartStreamingCall(stub, call, std::move(record), settings_.call, &stopwatch_, collector_);
}

}  // namespace strata::loadtest
