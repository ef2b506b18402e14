#include "engine/policy/cost_model.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <span>

namespace strata {
namespace {

// How wrong a profile may be, as parts of its prices: all of them together, for the machine's speed
// changes; each curve, whose neighbouring points are wrong alike; every other price.
constexpr double kSpeedDeviation = 0.3;
constexpr double kCurveDeviation = 0.3;
constexpr double kOtherDeviation = 0.5;
constexpr double kNeighbourhood = 4;       // points of a curve
constexpr double kMostCorrection = 0.5;    // of a price, by one measurement
constexpr double kUntouchedWeight = 1e-3;  // of a point that was not measured, beside one that was
constexpr double kErrorRate = 1.0 / 64;
constexpr double kLeastPrice = 1e-12;

// Where `rows` lies among the row counts: between the `low`-th and the next, `share` of the way;
// below 0 or beyond 1 outside of them.
struct Place {
  int low = 0;
  double share = 0;
};

Place Find(double rows) {
  const auto& counts = Work::kRowCounts;
  int low = 0;
  while (low + 2 < static_cast<int>(counts.size()) && counts[low + 1] <= rows) ++low;
  return {low, (rows - counts[low]) / (counts[low + 1] - counts[low])};
}

double Interpolate(const std::vector<CostProfile::Point>& points, double rows) {
  if (points.size() == 1) return points[0].seconds;
  size_t low = 0;
  while (low + 2 < points.size() && points[low + 1].rows <= rows) ++low;
  const auto& [x0, y0] = points[low];
  const auto& [x1, y1] = points[low + 1];
  if (rows <= x0) return y0;
  const double slope = (y1 - y0) / (x1 - x0);
  if (rows <= x1) return y0 + slope * (rows - x0);
  // Where it is flat, noise makes it ascend or descend; but more rows never cost less.
  return y1 + std::max(0.0, slope) * (rows - x1);
}

// The nearest values that ascend, by weighted squares (pool adjacent violators). At most
// kRowCounts.size() of them.
void MakeAscend(std::span<double> values, std::span<const double> weights) {
  struct Pool {
    double value, weight;
    size_t end;
  };
  std::array<Pool, Work::kRowCounts.size()> pools;
  size_t num_pools = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    pools[num_pools++] = {values[i], weights[i], i + 1};
    while (num_pools > 1 && pools[num_pools - 2].value > pools[num_pools - 1].value) {
      Pool& low = pools[num_pools - 2];
      const Pool& high = pools[num_pools - 1];
      const double sum = low.weight + high.weight;
      low = {(low.weight * low.value + high.weight * high.value) / sum, sum, high.end};
      --num_pools;
    }
  }
  size_t i = 0;
  for (size_t pool = 0; pool < num_pools; ++pool) {
    for (; i < pools[pool].end; ++i) values[i] = pools[pool].value;
  }
}

}  // namespace

// Less than one row is a share of one: an expected number of rows, or none at all.
void Work::AddCurve(int first, double rows, double amount) {
  if (rows < 1) {
    amounts_[first] += amount * std::max(rows, 0.0);
    return;
  }
  const Place place = Find(rows);
  amounts_[first + place.low] += amount * (1 - place.share);
  amounts_[first + place.low + 1] += amount * place.share;
}

void Work::AddLayers(double num_layers, double rows, double context_tokens) {
  AddCurve(kLayer, rows, num_layers);
  amounts_[kContext] += num_layers * context_tokens;
}

void Work::AddHead(double rows, double share) { AddCurve(kHead, rows, share); }

CostModel::CostModel(const CostProfile& profile) : filter_(Prior()) {
  assert(!profile.layer.empty() && !profile.head.empty());
  for (int i = 0; i < Work::kNumRowCounts; ++i) {
    prices_[Work::kLayer + i] = Interpolate(profile.layer, Work::kRowCounts[i]);
    prices_[Work::kHead + i] = Interpolate(profile.head, Work::kRowCounts[i]);
  }
  prices_[Work::kContext] = profile.context_token;
  prices_[Work::kPass] = profile.pass;
  for (int mode = 0; mode < kNumSamplerModes; ++mode) {
    prices_[Work::kChoose + mode] = profile.choose[mode];
  }
  for (double& price : prices_) price = std::max(price, kLeastPrice);
  BoundCurve(Work::kLayer);
  BoundCurve(Work::kHead);
}

double CostModel::Seconds(const Work& work) const {
  // Four sums at a time: each addition waits for the one before.
  std::array<double, 4> sums{};
  for (int i = 0; i < Work::kNumPrices; i += 4) {
    for (int j = 0; j < 4; ++j) sums[j] += prices_[i + j] * work.amounts_[i + j];
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

double CostModel::RatioDeviation(const Work& work, const Work& beside) const {
  const double seconds = Seconds(work), seconds_beside = Seconds(beside);
  Filter::Vector weights;
  for (int i = 0; i < Work::kNumPrices; ++i) {
    weights[i] = prices_[i] * (work.amounts_[i] / seconds - beside.amounts_[i] / seconds_beside);
  }
  return std::sqrt(std::max(0.0, filter_.Variance(weights)));
}

const CostModel::Filter::Matrix& CostModel::Prior() {
  static const Filter::Matrix prior = [] {
    Filter::Matrix matrix{};
    for (Filter::Vector& row : matrix) row.fill(kSpeedDeviation * kSpeedDeviation);
    for (const int first : {Work::kLayer, Work::kHead}) {
      for (int i = 0; i < Work::kNumRowCounts; ++i) {
        for (int j = 0; j < Work::kNumRowCounts; ++j) {
          matrix[first + i][first + j] +=
              kCurveDeviation * kCurveDeviation * std::exp(-std::abs(i - j) / kNeighbourhood);
        }
      }
    }
    for (int i = Work::kContext; i < Work::kNumPrices; ++i) {
      matrix[i][i] += kOtherDeviation * kOtherDeviation;
    }
    return matrix;
  }();
  return prior;
}

void CostModel::Observe(const Work& work, double seconds) {
  const double predicted = Seconds(work);
  if (!(predicted > 0) || !(seconds > 0)) return;
  error_ += kErrorRate * (std::fabs(seconds / predicted - 1) - error_);
  Filter::Vector shares;
  for (int i = 0; i < Work::kNumPrices; ++i) {
    shares[i] = prices_[i] * work.amounts_[i] / predicted;
  }
  const double deviation = std::clamp(seconds / predicted, 0.5, 2.0) - 1;
  const Filter::Vector& changes = filter_.Correct(shares, deviation);
  for (int i = 0; i < Work::kNumPrices; ++i) {
    prices_[i] *= 1 + std::clamp(changes[i], -kMostCorrection, kMostCorrection);
  }
  ShapeCurve(Work::kLayer, work);
  ShapeCurve(Work::kHead, work);
}

void CostModel::BoundCurve(int first) {
  for (int i = first + Work::kNumRowCounts - 2; i >= first; --i) {
    prices_[i] = std::min(prices_[i], prices_[i + 1]);
  }
  for (int i = 1; i < Work::kNumRowCounts; ++i) {
    const double rows = static_cast<double>(Work::kRowCounts[i]) / Work::kRowCounts[i - 1];
    prices_[first + i] = std::min(prices_[first + i], rows * prices_[first + i - 1]);
  }
}

void CostModel::ShapeCurve(int first, const Work& work) {
  constexpr int n = Work::kNumRowCounts;
  std::array<double, n> of_a_row, weights;  // by descending rows
  for (int i = 0; i < n; ++i) {
    const int point = n - 1 - i;
    of_a_row[i] = prices_[first + point] / Work::kRowCounts[point];
    weights[i] = work.amounts_[first + point] != 0 ? 1 : kUntouchedWeight;
  }
  MakeAscend(of_a_row, weights);
  for (int i = 0; i < n; ++i) {
    const int point = n - 1 - i;
    prices_[first + point] = of_a_row[i] * Work::kRowCounts[point];
  }
  std::reverse(weights.begin(), weights.end());
  MakeAscend(std::span(prices_).subspan(first, n), weights);
}

}  // namespace strata
