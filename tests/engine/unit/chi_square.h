// Pearson's chi-square test of counts against probabilities.

#ifndef STRATA_TESTS_ENGINE_UNIT_CHI_SQUARE_H_
#define STRATA_TESTS_ENGINE_UNIT_CHI_SQUARE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace strata {

struct ChiSquare {
  double statistic = 0;
  int degrees_of_freedom = 0;

  // What the statistic exceeds with probability 1e-6 where the probabilities are right
  // (Wilson and Hilferty's approximation; 4.7534 is the normal quantile).
  double Threshold() const {
    const double n = degrees_of_freedom;
    return n * std::pow(1 - 2 / (9 * n) + 4.7534 * std::sqrt(2 / (9 * n)), 3);
  }
};

// Cells of (probability, count). Those that expect fewer than 5 are merged with the next larger.
inline ChiSquare CompareCounts(std::vector<std::pair<double, int64_t>> cells) {
  std::sort(cells.begin(), cells.end());
  int64_t total = 0;
  for (const auto& cell : cells) total += cell.second;
  ChiSquare result;
  double expected = 0, count = 0;
  for (size_t i = 0; i < cells.size(); ++i) {
    expected += cells[i].first * static_cast<double>(total);
    count += static_cast<double>(cells[i].second);
    if (expected < 5 && i + 1 < cells.size()) continue;
    result.statistic += (count - expected) * (count - expected) / expected;
    ++result.degrees_of_freedom;
    expected = count = 0;
  }
  --result.degrees_of_freedom;
  return result;
}

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_UNIT_CHI_SQUARE_H_
