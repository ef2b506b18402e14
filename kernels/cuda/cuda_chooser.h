// The chooser of NVIDIA GPUs.

#ifndef STRATA_KERNELS_CUDA_CUDA_CHOOSER_H_
#define STRATA_KERNELS_CUDA_CUDA_CHOOSER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/chooser.h"
#include "kernels/cuda/choice_kernels.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/read_buffer.h"

namespace strata::kernels::cuda {

class CudaChooser final : public Chooser {
 public:
  // Throws DeviceError if the device has too little memory.
  CudaChooser(std::shared_ptr<Device> device, const ChooserLimits& limits);

  int num_proposals() const override { return num_proposals_; }
  void Begin(const ChoiceRound& round) override;
  void Draft(const LogitRows& logits, std::span<const DraftChoice> choices) override;
  void Verify(const LogitRows& logits, std::span<const TargetChoice> choices) override;
  ChosenTokens Read() override;

  // [num_slots], device memory.
  const ChosenDraft* drafts() const { return round_.drafts; }

 private:
  CudaChooser(std::shared_ptr<Device> device, int vocab_size, const ChooserSizes& sizes);
  // Appends an array to what is sent next; returns where it stands in there.
  template <typename T>
  size_t Append(std::span<const T> items);
  // Sends what was appended to `memory`; returns where it is.
  const std::byte* Send(Scratch& memory);
  // Whole rows. part_widths: those of `logits`, in device memory.
  DeviceLogits Join(const LogitRows& logits, const std::byte* part_widths);

  const std::shared_ptr<Device> device_;
  const int num_proposals_;
  const Buffer proposals_, proposal_totals_, weights_, weight_totals_;
  const Buffer whole_;  // f32 [max_logit_rows, vocab_size], where logits come in parts
  Scratch round_memory_, call_memory_, verdicts_, results_;
  size_t result_bytes_ = 0;
  int num_slots_ = 0;
  int num_targets_ = 0;
  DeviceRound round_;
  std::vector<ChoiceMode> modes_;  // of the round's sequences
  std::vector<std::byte> message_;
  std::vector<VerifySpan> spans_;
  ReadBuffer read_;
};

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_CUDA_CHOOSER_H_
