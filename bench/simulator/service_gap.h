// How far the services of two tenants drift apart while both wait for more.

#ifndef STRATA_BENCH_SIMULATOR_SERVICE_GAP_H_
#define STRATA_BENCH_SIMULATOR_SERVICE_GAP_H_

#include <algorithm>

namespace strata::sim {

// Of tenants 0 and 1; others are ignored.
class ServiceGap {
 public:
  void Serve(int tenant, double service) {
    if (tenant < 2) services_[tenant] += service;
  }
  // Call where services are complete, after each round.
  void Note(bool both_wait) {
    if (!both_wait) {
      waiting_ = false;
      return;
    }
    const double lead = services_[0] - services_[1];
    least_ = waiting_ ? std::min(least_, lead) : lead;
    most_ = waiting_ ? std::max(most_, lead) : lead;
    waiting_ = true;
    largest_ = std::max(largest_, most_ - least_);
    for (int i = 0; i < 2; ++i) at_last_wait_[i] = services_[i];
  }

  // The largest difference of what the two received, over any time in which both always waited.
  double largest() const { return largest_; }
  // What they had received when both waited last.
  double service(int tenant) const { return at_last_wait_[tenant]; }

 private:
  double services_[2] = {};
  double at_last_wait_[2] = {};
  bool waiting_ = false;
  double least_ = 0, most_ = 0;  // lead of tenant 0 since both wait
  double largest_ = 0;
};

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_SERVICE_GAP_H_
