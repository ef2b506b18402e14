// How a deviation of what was predicted from what was measured is shared among the prices that the
// prediction was made of: a Kalman filter (Kalman, 1960) over relative prices.

#ifndef STRATA_ENGINE_POLICY_PRICE_FILTER_H_
#define STRATA_ENGINE_POLICY_PRICE_FILTER_H_

#include <array>

namespace strata {

// It knows how uncertain N prices are, each by itself and together, and nothing of the prices. What
// has been measured often becomes sure, so that a deviation is put down to what has not been; what
// has not been measured for long becomes as uncertain again as it was in the beginning. All is
// relative: 0.1 is a tenth of a price. Not thread-safe.
template <int N>
class PriceFilter {
 public:
  using Vector = std::array<double, N>;
  using Matrix = std::array<Vector, N>;

  // Of covariances, symmetric and positive semidefinite. `prior` outlives this.
  explicit PriceFilter(const Matrix& prior) : prior_(&prior), covariance_(prior) {}

  // A prediction, of which shares[i] was price i's, came out at 1 + deviation times itself. Returns
  // by what part of itself each price is to be raised. Valid until the next call.
  const Vector& Correct(const Vector& shares, double deviation);

  // The variance of a sum of relative prices that `weights` are of.
  double Variance(const Vector& weights) const;

 private:
  // Of one measurement: other work on the machine, what prices do not describe.
  static constexpr double kNoise = 0.1 * 0.1;
  // One measurement moves the prediction by so much at most: what is further off is taken to be
  // noisier.
  static constexpr double kMostChange = 0.15;
  // Of what was learnt, a measurement leaves so much.
  static constexpr double kForgotten = 0.002;

  const Matrix* prior_;
  Matrix covariance_;
  Vector changes_{};
};

template <int N>
const typename PriceFilter<N>::Vector& PriceFilter<N>::Correct(const Vector& shares,
                                                               double deviation) {
  Vector with_prediction{};  // each price's covariance with it
  for (int i = 0; i < N; ++i) {
    if (shares[i] == 0) continue;
    for (int j = 0; j < N; ++j) with_prediction[j] += shares[i] * covariance_[i][j];
  }
  double variance = 0;  // the prediction's own
  for (int i = 0; i < N; ++i) variance += shares[i] * with_prediction[i];
  const double size = deviation < 0 ? -deviation : deviation;
  double total = variance + kNoise;
  if (variance * size > kMostChange * total) total = variance * size / kMostChange;
  for (int i = 0; i < N; ++i) changes_[i] = with_prediction[i] * deviation / total;
  for (int i = 0; i < N; ++i) {
    const double scale = with_prediction[i] / total;
    for (int j = 0; j < N; ++j) {
      const double known = covariance_[i][j] - scale * with_prediction[j];
      covariance_[i][j] = known + kForgotten * ((*prior_)[i][j] - known);
    }
  }
  return changes_;
}

template <int N>
double PriceFilter<N>::Variance(const Vector& weights) const {
  double variance = 0;
  for (int i = 0; i < N; ++i) {
    if (weights[i] == 0) continue;
    double row = 0;
    for (int j = 0; j < N; ++j) row += covariance_[i][j] * weights[j];
    variance += weights[i] * row;
  }
  return variance;
}

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_PRICE_FILTER_H_
