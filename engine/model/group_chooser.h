// The choosers of a group's ranks as one. Each rank chooses for itself, from rows that are gathered
// from all: as they are told the same, they choose the same, and drafts stay on every device, as
// tokens of the next batch, without a message of their own.

#ifndef STRATA_ENGINE_MODEL_GROUP_CHOOSER_H_
#define STRATA_ENGINE_MODEL_GROUP_CHOOSER_H_

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/model/model.h"
#include "kernels/chooser.h"

namespace strata {

class RankThreads;

struct RankChoice {
  ChoosingModel* model = nullptr;
  kernels::LogitRows logits;     // of its last LogitsOnDevice
  kernels::ChosenTokens chosen;  // by its last Read
};
using RankChoices = std::vector<RankChoice>;  // by rank

// Threads and errors as of TpGroup.
class GroupChooser final : public kernels::Chooser {
 public:
  // `ranks` holds what threads that are left behind may touch; `threads` must outlive this.
  GroupChooser(std::shared_ptr<RankChoices> ranks, RankThreads* threads)
      : ranks_(std::move(ranks)), threads_(threads) {}

  int num_proposals() const override;
  void Begin(const kernels::ChoiceRound& round) override;
  // Of the ranks' own logits, whichever rank's are given.
  void Draft(const kernels::LogitRows& logits,
             std::span<const kernels::DraftChoice> choices) override;
  void Verify(const kernels::LogitRows& logits,
              std::span<const kernels::TargetChoice> choices) override;
  // Waits for all ranks.
  kernels::ChosenTokens Read() override;

 private:
  const std::shared_ptr<RankChoices> ranks_;
  RankThreads* const threads_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_MODEL_GROUP_CHOOSER_H_
