// What rounds cost in time: a linear model of the passes through the layers, the heads and the
// choices of tokens, profiled once and corrected by what rounds really take.

#ifndef STRATA_ENGINE_POLICY_COST_MODEL_H_
#define STRATA_ENGINE_POLICY_COST_MODEL_H_

#include <array>
#include <cstdint>
#include <vector>

#include "engine/policy/price_filter.h"
#include "engine/sampler.h"

namespace strata {

inline constexpr int kNumSamplerModes = 3;  // of Sampler::Mode

// Times of one model on one machine, in seconds.
struct CostProfile {
  struct Point {
    double rows = 0;
    double seconds = 0;
  };
  // By ascending rows, at least one point; what lies between is interpolated, what lies beyond
  // goes on as the last two points do, if they ascend.
  std::vector<Point> layer;                          // one layer, with no context to attend to
  std::vector<Point> head;                           // the output matrix of all tokens
  double context_token = 0;                          // attending to one position in one layer
  double pass = 0;                                   // a pass through the model, whatever it has
  std::array<double, kNumSamplerModes> choose = {};  // one row's logits to its token
};

// The computing of a round or of a part of it, as amounts of what a CostModel has prices for.
class Work {
 public:
  // Row counts at which layers and heads have a price of their own.
  static constexpr std::array<int, 22> kRowCounts = {
      1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096};

  void Clear() { amounts_.fill(0); }
  // `rows` may be an expected number, and negative amounts take work away again.
  void AddLayers(double num_layers, double rows, double context_tokens);
  // `share`: of the vocabulary that the head has.
  void AddHead(double rows, double share);
  void AddPass() { amounts_[kPass] += 1; }
  void AddChoices(Sampler::Mode mode, double rows) {
    amounts_[kChoose + static_cast<int>(mode)] += rows;
  }

 private:
  friend class CostModel;
  static constexpr int kNumRowCounts = static_cast<int>(kRowCounts.size());
  static constexpr int kLayer = 0;
  static constexpr int kHead = kNumRowCounts;
  static constexpr int kContext = 2 * kNumRowCounts;
  static constexpr int kPass = kContext + 1;
  static constexpr int kChoose = kPass + 1;
  static constexpr int kNumPrices =
      (kChoose + kNumSamplerModes + 3) / 4 * 4;  // the last are unused

  void AddCurve(int first, double rows, double amount);

  std::array<double, kNumPrices> amounts_{};
};

// Not thread-safe. No allocation after construction.
class CostModel {
 public:
  explicit CostModel(const CostProfile& profile);

  double Seconds(const Work& work) const;
  // What `work` really took. A deviation is shared among the prices that the work consists of, and
  // those that go up and down with them, by how uncertain each is.
  void Observe(const Work& work, double seconds);

  // By how much the ratio of what two works are predicted to take may be wrong, as a part of it:
  // one standard deviation.
  double RatioDeviation(const Work& work, const Work& beside) const;

  // How far predictions were from what was observed, of late: mean of |actual / predicted - 1|.
  double error() const { return error_; }

 private:
  using Filter = PriceFilter<Work::kNumPrices>;

  static const Filter::Matrix& Prior();
  // More rows never cost less, and never more than as many passes of fewer: a batch can be split.
  // Of a profile, what more rows were measured to cost bounds what fewer cost, and the other way
  // round: noise only ever adds.
  void BoundCurve(int first);
  // After its prices have moved by `work`: those that it does not touch give way.
  void ShapeCurve(int first, const Work& work);

  Filter::Vector prices_{};  // seconds per amount
  Filter filter_;
  double error_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_COST_MODEL_H_
