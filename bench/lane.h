// Settings compared within the same moments. A machine's speed may change by half from one second
// to the next, while settings are to be told apart by a hundredth. So each setting has a lane: a
// step loop of its own over a part of one model, all of which run the same requests a round at a
// time, by turns.

#ifndef STRATA_BENCH_LANE_H_
#define STRATA_BENCH_LANE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/clock.h"
#include "engine/model/model.h"
#include "engine/policy/cost_model.h"
#include "engine/request.h"
#include "engine/speculation_policy.h"
#include "engine/step_loop.h"
#include "engine/tokenizer/tokenizer.h"

namespace strata::bench {

// One of `num_parts` equal parts of a model's KV cache, as if it were a model. The parts are used
// by turns, a round at a time: whatever lives for a round only, as rows of the exit cache do, they
// share.
class ModelPart final : public Model {
 public:
  // `whole` must outlive it. Its counters are those of all parts.
  ModelPart(Model* whole, int part, int num_parts);

  void Forward(const ForwardBatch& batch) override;
  void Synchronize() override { whole_->Synchronize(); }
  const float* Logits(std::span<const int32_t> rows, const Head& head) override {
    return whole_->Logits(rows, head);
  }
  const float* ExitLogits(std::span<const int32_t> exit_cache_rows, const Head& head) override {
    return whole_->ExitLogits(exit_cache_rows, head);
  }
  const Head& head() const override { return whole_->head(); }
  absl::StatusOr<Head> SelectTokens(std::vector<int32_t> ids) override {
    return whole_->SelectTokens(std::move(ids));
  }
  ChoosingModel* choosing() override { return whole_->choosing(); }
  const ModelConfig& config() const override { return whole_->config(); }
  const ModelLimits& limits() const override { return limits_; }
  int64_t row_layers() const override { return whole_->row_layers(); }
  int64_t head_rows() const override { return whole_->head_rows(); }
  int64_t logits_computed() const override { return whole_->logits_computed(); }
  void ResetCounters() override { whole_->ResetCounters(); }

 private:
  Model* const whole_;
  ModelLimits limits_;
  int32_t first_block_ = 0;
  ForwardBatch batch_;  // in the whole's blocks
};

// What the rounds in which all sequences decoded have come to.
struct Tally {
  double seconds = 0;
  int64_t tokens = 0;
  int64_t drafted = 0;
  int64_t accepted = 0;
  int64_t sequence_rounds = 0;  // of each sequence

  double rate() const { return static_cast<double>(tokens) / seconds; }
  void Add(const Tally& more);
};

// Generates the same texts over and over, each time until the first of them is complete. Used from
// one thread.
class Lane {
 public:
  // As many lanes as `num_parts` share `model`. All must outlive it.
  Lane(Model* model, int part, int num_parts, const Tokenizer* tokenizer,
       const SpeculationPolicy* policy, const CostProfile& costs);
  ~Lane();

  // From here on it generates these, whose prompts are tokens. Errors: as of Engine::Submit.
  absl::Status Begin(std::vector<GenerateRequest> requests);
  // One round. Throws kernels::DeviceError. Errors: of a request that cannot be generated.
  absl::Status Step();
  // How often it has begun anew since Begin.
  int num_generations() const { return num_generations_; }
  // Since the last call.
  Tally TakeTally() { return std::exchange(tally_, {}); }
  const Tally& tally() const { return tally_; }

 private:
  class Watcher;

  void AcceptRequests();

  ModelPart model_;
  SteadyClock clock_;
  std::shared_ptr<Watcher> watcher_;
  std::unique_ptr<StepLoop> loop_;
  std::vector<GenerateRequest> requests_;
  uint64_t next_id_ = 1;
  int num_generations_ = 0;
  bool ended_ = true;
  Tally tally_;
};

}  // namespace strata::bench

#endif  // STRATA_BENCH_LANE_H_
