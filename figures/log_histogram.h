// Counts of positive numbers by their logarithm, for percentiles.

#ifndef STRATA_FIGURES_LOG_HISTOGRAM_H_
#define STRATA_FIGURES_LOG_HISTOGRAM_H_

#include <cstdint>
#include <vector>

namespace strata {

// A percentile is exact to 1%, between 1e-6 and 1e6.
class LogHistogram {
 public:
  void Add(double value, int64_t count = 1);
  void Merge(const LogHistogram& other);
  int64_t count() const { return count_; }
  double mean() const { return count_ > 0 ? sum_ / static_cast<double>(count_) : 0; }
  // Of `fraction` in [0, 1] of the values; 0 if there are none.
  double Percentile(double fraction) const;

 private:
  std::vector<int64_t> buckets_;  // grows as far as needed
  int64_t count_ = 0;
  double sum_ = 0;
};

}  // namespace strata

#endif  // STRATA_FIGURES_LOG_HISTOGRAM_H_
