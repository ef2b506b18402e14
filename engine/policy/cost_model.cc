#include "engine/policy/cost_model.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace strata {
namespace {

// How much of a deviation the shared speed takes up at once, and how much the prices do.
constexpr double kSpeedRate = 0.1;
constexpr double kPriceRate = 0.05;
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
  return y0 + (y1 - y0) * (rows - x0) / (x1 - x0);
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

CostModel::CostModel(const CostProfile& profile) {
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
  MakeCurveRise(Work::kLayer);
  MakeCurveRise(Work::kHead);
}

double CostModel::Seconds(const Work& work) const {
  // Four sums at a time: each addition waits for the one before.
  std::array<double, 4> sums{};
  for (int i = 0; i < Work::kNumPrices; i += 4) {
    for (int j = 0; j < 4; ++j) sums[j] += prices_[i + j] * work.amounts_[i + j];
  }
  return speed_ * ((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

void CostModel::Observe(const Work& work, double seconds) {
  const double predicted = Seconds(work);
  if (!(predicted > 0) || !(seconds > 0)) return;
  error_ += kErrorRate * (std::fabs(seconds / predicted - 1) - error_);
  const double deviation = std::clamp(seconds / predicted, 0.5, 2.0) - 1;
  for (int i = 0; i < Work::kNumPrices; ++i) {
    if (work.amounts_[i] == 0) continue;
    const double share = speed_ * prices_[i] * work.amounts_[i] / predicted;
    // Beyond the last row count amounts are negative in part; prices never are.
    prices_[i] *= 1 + kPriceRate * std::clamp(share, -1.0, 1.0) * deviation;
  }
  KeepCurveRising(Work::kLayer, work);
  KeepCurveRising(Work::kHead, work);
  speed_ *= 1 + kSpeedRate * deviation;
}

void CostModel::MakeCurveRise(int first) {
  for (int i = first + Work::kNumRowCounts - 2; i >= first; --i) {
    prices_[i] = std::min(prices_[i], prices_[i + 1]);
  }
}

void CostModel::KeepCurveRising(int first, const Work& work) {
  const int end = first + Work::kNumRowCounts;
  for (int i = first + 1; i < end; ++i) {
    // Two that have both moved meet halfway.
    if (work.amounts_[i - 1] == 0 || work.amounts_[i] == 0 || prices_[i - 1] <= prices_[i]) {
      continue;
    }
    prices_[i - 1] = prices_[i] = (prices_[i - 1] + prices_[i]) / 2;
  }
  for (int i = first; i < end; ++i) {
    if (work.amounts_[i] == 0) continue;
    for (int j = i - 1; j >= first && prices_[j] > prices_[i]; --j) prices_[j] = prices_[i];
    for (int j = i + 1; j < end && prices_[j] < prices_[i]; ++j) prices_[j] = prices_[i];
  }
}

CostProfile CostModel::Profile() const {
  CostProfile profile;
  for (int i = 0; i < Work::kNumRowCounts; ++i) {
    const double rows = Work::kRowCounts[i];
    profile.layer.push_back({rows, speed_ * prices_[Work::kLayer + i]});
    profile.head.push_back({rows, speed_ * prices_[Work::kHead + i]});
  }
  profile.context_token = speed_ * prices_[Work::kContext];
  profile.pass = speed_ * prices_[Work::kPass];
  for (int mode = 0; mode < kNumSamplerModes; ++mode) {
    profile.choose[mode] = speed_ * prices_[Work::kChoose + mode];
  }
  return profile;
}

}  // namespace strata
