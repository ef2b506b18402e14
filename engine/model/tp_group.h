// A model whose layers are split over several ranks (tensor parallelism): a
// device, a communicator and a thread each.
//
// What is asked of the group is given to all ranks, which run the same calls of
// their LlamaModel side by side and meet in its collectives. Only logits leave
// the ranks: each writes those of its tokens into the caller's rows. Where devices choose tokens,
// they leave only if somebody asks to see them (GroupChooser).

#ifndef STRATA_ENGINE_MODEL_TP_GROUP_H_
#define STRATA_ENGINE_MODEL_TP_GROUP_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model/model.h"
#include "kernels/communicator.h"

namespace strata {

class LlamaModel;
class RankThreads;

// Outputs do not depend on the rows beside a row, as with one device, if the
// communicators are deterministic; they do depend on the number of ranks, which
// changes the order of sums.
//
// Failure. A rank that throws ends the group, and so does one that is `timeout`
// later than another, in a collective or with a whole call. From then on Forward
// and Logits throw kernels::CommunicatorError with the first reason. A rank that
// does not come back even then is left behind with all that it may touch.
//
// Used from one thread at a time.
class TpGroup final : public Model, private ChoosingModel {
 public:
  // The checkpoint's model over `ranks`, the r-th being rank r of their communicators' group.
  // Errors: as of LlamaModel::Create, of the first rank that fails.
  static absl::StatusOr<std::unique_ptr<TpGroup>> Create(
      std::shared_ptr<const Checkpoint> checkpoint, std::vector<kernels::RankDevice> ranks,
      const ModelLimits& limits, std::chrono::milliseconds timeout);
  ~TpGroup() override;
  TpGroup(const TpGroup&) = delete;
  TpGroup& operator=(const TpGroup&) = delete;

  void Forward(const ForwardBatch& batch) override;
  void Synchronize() override;
  const float* Logits(std::span<const int32_t> rows, const Head& head) override;
  const float* ExitLogits(std::span<const int32_t> exit_cache_rows, const Head& head) override;
  const Head& head() const override { return head_; }
  absl::StatusOr<Head> SelectTokens(std::vector<int32_t> ids) override;
  ChoosingModel* choosing() override { return chooser_ != nullptr ? this : nullptr; }

  const ModelConfig& config() const override;
  const ModelLimits& limits() const override { return limits_; }
  int64_t row_layers() const override;
  int64_t head_rows() const override;
  int64_t logits_computed() const override;
  void ResetCounters() override;

 private:
  struct Ranks;
  // Which of a rank's two kinds of logits.
  using LogitsOfRank = const float* (LlamaModel::*)(std::span<const int32_t> rows,
                                                    const Head& head);

  TpGroup(std::shared_ptr<Ranks> ranks, std::unique_ptr<RankThreads> threads,
          const ModelLimits& limits);

  const float* GatherLogits(LogitsOfRank logits, std::span<const int32_t> rows, const Head& head);

  kernels::Chooser& chooser() override { return *chooser_; }
  kernels::LogitRows LogitsOnDevice(std::span<const int32_t> rows, const Head& head) override;
  const float* ReadLogits(const kernels::LogitRows& logits) override;

  const std::shared_ptr<Ranks> ranks_;
  const std::unique_ptr<RankThreads> threads_;
  std::unique_ptr<kernels::Chooser> chooser_;  // may be null
  const ModelLimits limits_;
  Head head_;
};

// Bytes of one KV block of all layers and ranks, for sizing the pool.
// Errors: those of ShardOf.
absl::StatusOr<int64_t> KvBlockBytesOfRanks(const ModelConfig& config,
                                            std::span<const kernels::RankDevice> ranks);

}  // namespace strata

#endif  // STRATA_ENGINE_MODEL_TP_GROUP_H_
