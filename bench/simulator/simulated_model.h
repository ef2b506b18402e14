// A model that takes the time of a roofline and writes the text of a
// TokenProcess, for the real round to run on.

#ifndef STRATA_BENCH_SIMULATOR_SIMULATED_MODEL_H_
#define STRATA_BENCH_SIMULATOR_SIMULATED_MODEL_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/simulator/token_process.h"
#include "bench/simulator/virtual_clock.h"
#include "engine/model/model.h"
#include "engine/planning/roofline.h"

namespace strata::sim {

// What the model knows of the text up to a position it finds in its KV cache, at the position
// before: so a wrong block table, or KV that is shared or kept where it should not be, gives wrong
// text, as in a real model. It also counts what only an engine's bug can ask for: KV of too little
// depth, and rows that enter with another one's hidden state.
class SimulatedModel final : public Model {
 public:
  // Pointers must outlive the model. The time of each call varies by a factor of standard deviation
  // `time_noise`, seeded.
  SimulatedModel(const ModelLimits& limits, const Roofline* roofline, const TokenProcess* process,
                 VirtualClock* clock, double time_noise, uint64_t seed);

  void Forward(const ForwardBatch& batch) override;
  const float* Logits(std::span<const int32_t> rows, const Head& head) override;
  const float* ExitLogits(std::span<const int32_t> exit_cache_rows, const Head& head) override;
  const Head& head() const override { return head_; }
  absl::StatusOr<Head> SelectTokens(std::vector<int32_t> ids) override;

  // The roofline's, with the vocabulary that text is written in.
  const ModelConfig& config() const override { return config_; }
  const ModelLimits& limits() const override { return limits_; }
  int64_t row_layers() const override { return row_layers_; }
  int64_t head_rows() const override { return head_rows_; }
  int64_t logits_computed() const override { return logits_computed_; }
  // Of errors too.
  void ResetCounters() override { row_layers_ = head_rows_ = logits_computed_ = errors_ = 0; }

  int64_t errors() const { return errors_; }

 private:
  // A position of the KV cache.
  struct Slot {
    TextState state;
    int depth = 0;  // layers [0, depth) have keys and values of this state
  };
  // The hidden state of a row: of the last Forward, or in the exit cache.
  struct Hidden {
    TextState state;
    int layer = 0;  // that left it
  };

  Slot& SlotAt(const ForwardBatch& batch, int32_t sequence, int position);
  void ComputeStates(const ForwardBatch& batch);
  void EnterAndLeave(const ForwardBatch& batch);
  void CheckDepths(const ForwardBatch& batch);
  double LayersSeconds(const ForwardBatch& batch);
  void Spend(double seconds);
  const float* LogitsOf(const std::vector<Hidden>& states, std::span<const int32_t> rows,
                        const Head& head);
  void FillLogits(const Hidden& row, const Head& head, float* logits) const;

  const ModelLimits limits_;
  const ModelConfig config_;
  const Roofline* const roofline_;
  const TokenProcess* const process_;
  VirtualClock* const clock_;
  const double time_noise_;
  const uint64_t noise_key_;
  const Head head_;

  std::vector<Slot> kv_;            // [num_kv_blocks * kKvBlockTokens]
  std::vector<Hidden> rows_;        // [max_rows] as the last Forward left them
  std::vector<Hidden> exit_cache_;  // [max_exit_rows]
  std::vector<float> logits_;
  std::vector<int> longest_;  // [sequences of a batch] positions that attention reads
  uint64_t num_calls_ = 0;
  int64_t row_layers_ = 0;
  int64_t head_rows_ = 0;
  int64_t logits_computed_ = 0;
  int64_t errors_ = 0;
};

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_SIMULATED_MODEL_H_
