// A round's choices where the model's device makes them: what its chooser is told, and what that
// has found.

#ifndef STRATA_ENGINE_DEVICE_CHOICES_H_
#define STRATA_ENGINE_DEVICE_CHOICES_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/model/model.h"
#include "engine/sequence.h"
#include "engine/verification.h"
#include "kernels/chooser.h"

namespace strata {

// Used from one thread at a time. Throws kernels::DeviceError.
class DeviceChoices {
 public:
  // `model` must outlive this. `max_logit_rows`: its limit.
  DeviceChoices(ChoosingModel* model, Verification verification, int max_logit_rows);

  // A round begins: sequences are added, then told to the device. They are numbered in this order.
  void Begin() { sequences_.clear(), num_slots_ = 0; }
  // Of a sequence that may draft so much; the first token that is chosen is at `position`.
  void Add(const Sequence& sequence, int64_t position, int max_drafts);
  // confidences: drafts' are wanted.
  void Start(bool confidences);

  // Where an unseeded draft's distribution goes; nullopt: there is no room for it.
  std::optional<int32_t> TakeProposal();
  // Chooses a draft from each of `rows` of the last Forward. The chooser's DraftChoice::row is set
  // here.
  void Draft(std::span<const int32_t> rows, const Head& head,
             std::span<kernels::DraftChoice> choices);
  // Chooses targets from `rows`, at most max_logit_rows; a choice's row is an index of them.
  // Returns the logits, which are valid until the next call.
  kernels::LogitRows Verify(std::span<const int32_t> rows, const Head& head,
                            std::span<const kernels::TargetChoice> choices);
  // These wait. The logits in host memory; valid until the next call.
  const float* ReadLogits(const kernels::LogitRows& logits) { return model_->ReadLogits(logits); }
  const kernels::ChosenTokens& Read() { return chosen_ = model_->chooser().Read(); }
  // What Read has found.
  const kernels::ChosenTokens& chosen() const { return chosen_; }

  // How many uniform numbers the row takes that gave this.
  int NumUniforms(bool has_draft, const kernels::ChosenTarget& target) const {
    return by_token_ && has_draft && target.goes_on == 0 ? 2 : 1;
  }

 private:
  using Range = kernels::ChoiceSequence::Range;
  Range AddBiases(const SamplingParams& params);
  Range AddCounts(const TokenCounts& counts);
  Range AddStops(const RequestState& request);
  Range AddUniforms(const Sequence& sequence, int max_drafts);

  ChoosingModel* const model_;
  const bool by_token_;
  const int max_logit_rows_;
  int num_slots_ = 0;
  int num_proposals_ = 0;  // taken
  std::vector<kernels::ChoiceSequence> sequences_;
  std::vector<kernels::TokenBias> biases_;
  std::vector<kernels::TokenCount> counts_;
  std::vector<int32_t> stops_;
  std::vector<double> uniforms_;
  kernels::ChosenTokens chosen_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_DEVICE_CHOICES_H_
