#include "figures/log_histogram.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace strata {
namespace {

constexpr double kLeast = 1e-6;
constexpr double kGreatest = 1e6;
constexpr double kGrowth = 1.02;  // a bucket's middle is within 1% of what is in it

}  // namespace

void LogHistogram::Add(double value, int64_t count) {
  const double clamped = std::clamp(value, kLeast, kGreatest);
  const auto bucket = static_cast<size_t>(std::log(clamped / kLeast) / std::log(kGrowth));
  if (bucket >= buckets_.size()) buckets_.resize(bucket + 1, 0);
  buckets_[bucket] += count;
  count_ += count;
  sum_ += value * static_cast<double>(count);
}

void LogHistogram::Merge(const LogHistogram& other) {
  if (other.buckets_.size() > buckets_.size()) buckets_.resize(other.buckets_.size(), 0);
  for (size_t i = 0; i < other.buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_ += other.sum_;
}

double LogHistogram::Percentile(double fraction) const {
  const double wanted = std::max(1.0, std::ceil(fraction * static_cast<double>(count_)));
  int64_t seen = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (static_cast<double>(seen) >= wanted) {
      return kLeast * std::pow(kGrowth, static_cast<double>(i) + 0.5);
    }
  }
  return 0;
}

}  // namespace strata
