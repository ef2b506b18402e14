#include "engine/policy/cost_profiler.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "tests/engine/unit/manual_clock.h"

namespace strata {
namespace {

using std::chrono::milliseconds;

constexpr int kNumLayers = 8;

// A model whose device works beside its caller: time passes when somebody waits.
class AsynchronousModel final : public Model {
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

  // A millisecond a layer.
  void Forward(const ForwardBatch& batch) override {
    const LayerRange layers = batch.rows[0].layers;
    waiting_ += milliseconds(layers.end - layers.begin);
  }
  void Synchronize() override {
    clock_->Advance(waiting_);
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
  const Head& head() const override { return head_; }
  absl::StatusOr<Head> SelectTokens(std::vector<int32_t>) override { return Head(); }
  const ModelConfig& config() const override { return config_; }
  const ModelLimits& limits() const override { return limits_; }
  int64_t row_layers() const override { return 0; }
  int64_t head_rows() const override { return 0; }
  int64_t logits_computed() const override { return 0; }
  void ResetCounters() override {}

 private:
  ManualClock* const clock_;
  ModelConfig config_;
  ModelLimits limits_;
  Head head_;
  std::vector<float> logits_;
  Duration waiting_{};
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

}  // namespace
}  // namespace strata
