#include "engine/policy/cost_profiler.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "tests/engine/unit/manual_clock.h"
#include "tests/support/fake_model.h"

namespace strata {
namespace {

using std::chrono::milliseconds;

constexpr int kNumLayers = 8;

// A model whose device works beside its caller: time passes when somebody waits.
class AsynchronousModel final : public FakeModel {
 public:
  explicit AsynchronousModel(ManualClock* clock) : clock_(clock) {
    config_.num_layers = kNumLayers;
    config_.vocab_size = 8;
    limits_.max_rows = limits_.max_exit_rows = 8;
    limits_.max_context = 64;
    limits_.num_kv_blocks = 8;
    head_.num_tokens = config_.vocab_size;
    logits_.resize(limits_.max_logit_rows * head_.num_tokens);
  }

  // Within a while after `start` all takes so much longer.
  void SlowDown(Duration start, Duration length, int factor) {
    slow_from_ = clock_->Now() + start;
    slow_to_ = slow_from_ + length;
    slow_factor_ = factor;
  }

  // A millisecond a layer.
  void Forward(const ForwardBatch& batch) override {
    const LayerRange layers = batch.rows[0].layers;
    waiting_ += milliseconds(layers.end - layers.begin);
  }
  void Synchronize() override {
    const bool slow = clock_->Now() >= slow_from_ && clock_->Now() < slow_to_;
    clock_->Advance(slow ? slow_factor_ * waiting_ : waiting_);
    waiting_ = {};
  }
  // Two for a head.
  const float* Logits(std::span<const int32_t>, const Head&) override {
    waiting_ += milliseconds(2);
    Synchronize();
    return logits_.data();
  }
  const float* ExitLogits(std::span<const int32_t> rows, const Head& head) override {
    return Logits(rows, head);
  }

 private:
  ManualClock* const clock_;
  std::vector<float> logits_;
  Duration waiting_{};
  Instant slow_from_{}, slow_to_{};
  int slow_factor_ = 1;
};

TEST(CostProfiler, WaitsForWhatItMeasures) {
  ManualClock clock;
  AsynchronousModel model(&clock);
  const CostProfile profile = ProfileCosts(model, clock, std::chrono::seconds(1));
  ASSERT_FALSE(profile.layer.empty());
  for (const CostProfile::Point& point : profile.layer) EXPECT_NEAR(point.seconds, 1e-3, 1e-9);
  ASSERT_FALSE(profile.head.empty());
  for (const CostProfile::Point& point : profile.head) EXPECT_NEAR(point.seconds, 2e-3, 1e-9);
  EXPECT_NEAR(profile.pass, 0, 1e-9);
}

// Another program that runs for a while must not make one number of rows look dear.
TEST(CostProfiler, IsNotMisledByAWhileOfOtherWork) {
  for (int start = 0; start < 1000; start += 20) {
    ManualClock clock;
    AsynchronousModel model(&clock);
    model.SlowDown(milliseconds(start), milliseconds(60), 3);
    const CostProfile profile = ProfileCosts(model, clock, std::chrono::seconds(1));
    ASSERT_EQ(profile.layer.size(), 6u);  // 1 to 8 rows
    for (const CostProfile::Point& point : profile.layer) {
      EXPECT_NEAR(point.seconds, 1e-3, 1e-4) << point.rows << " rows, slow from " << start;
    }
    for (const CostProfile::Point& point : profile.head) {
      EXPECT_NEAR(point.seconds, 2e-3, 2e-4) << point.rows << " rows, slow from " << start;
    }
  }
}

// What one more row costs decides whether drafts pay. A large model, or one that a busy machine
// keeps waiting, takes all of the time for one row.
TEST(CostProfiler, MeasuresAFewRowsHoweverLongTheyTake) {
  ManualClock clock;
  AsynchronousModel model(&clock);
  const CostProfile profile = ProfileCosts(model, clock, milliseconds(1));
  EXPECT_EQ(profile.layer.size(), 6u);
  EXPECT_EQ(profile.head.size(), 6u);
}

}  // namespace
}  // namespace strata
