#include "kernels/cuda/cuda_chooser.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "kernels/cuda/cuda_error.h"

namespace strata::kernels::cuda {
CudaChooser::CudaChooser(std::shared_ptr<Device> device, const ChooserLimits& limits)
    : CudaChooser(std::move(device), limits.vocab_size, ChooserSizesOf(limits)) {}

CudaChooser::CudaChooser(std::shared_ptr<Device> device, int vocab_size, const ChooserSizes& sizes)
    : device_(std::move(device)),
      num_proposals_(sizes.num_proposals),
      proposals_(Device::Allocate(device_, sizes.proposals)),
      proposal_totals_(Device::Allocate(device_, sizes.proposal_totals)),
      weights_(Device::Allocate(device_, sizes.weights)),
      weight_totals_(Device::Allocate(device_, sizes.weight_totals)),
      whole_(sizes.whole > 0 ? Device::Allocate(device_, sizes.whole) : Buffer()) {
  round_.vocab_size = vocab_size;
  round_.proposals = static_cast<float*>(proposals_.data());
  round_.proposal_totals = static_cast<double*>(proposal_totals_.data());
  round_.weights = static_cast<float*>(weights_.data());
  round_.weight_totals = static_cast<double*>(weight_totals_.data());
}

template <typename T>
size_t CudaChooser::Append(std::span<const T> items) {
  const size_t at = (message_.size() + alignof(std::max_align_t) - 1) / alignof(std::max_align_t) *
                    alignof(std::max_align_t);
  message_.resize(at + items.size_bytes());
  if (!items.empty()) std::memcpy(message_.data() + at, items.data(), items.size_bytes());
  return at;
}

const std::byte* CudaChooser::Send(Scratch& memory) {
  void* const device = memory.Get(device_, message_.size());
  device_->Upload(device, message_);
  message_.clear();
  return static_cast<const std::byte*>(device);
}

void CudaChooser::Begin(const ChoiceRound& round) {
  device_->Select();
  modes_.clear();
  for (const ChoiceSequence& sequence : round.sequences) modes_.push_back(sequence.mode);
  const size_t sequences = Append(round.sequences);
  const size_t biases = Append(round.biases);
  const size_t counts = Append(round.counts);
  const size_t stops = Append(round.stops);
  const size_t uniforms = Append(round.uniforms);
  const std::byte* const at = Send(round_memory_);
  round_.sequences = reinterpret_cast<const ChoiceSequence*>(at + sequences);
  round_.biases = reinterpret_cast<const TokenBias*>(at + biases);
  round_.counts = reinterpret_cast<const TokenCount*>(at + counts);
  round_.stops = reinterpret_cast<const int32_t*>(at + stops);
  round_.uniforms = reinterpret_cast<const double*>(at + uniforms);
  round_.by_token = round.by_token;
  round_.confidences = round.confidences;
  round_.verdicts =
      static_cast<Verdict*>(verdicts_.Get(device_, round.sequences.size() * sizeof(Verdict)));
  // Drafts and targets side by side, to be read at once.
  num_slots_ = round.num_slots;
  num_targets_ = round.num_targets;
  const size_t draft_bytes = sizeof(ChosenDraft) * num_slots_;
  result_bytes_ = draft_bytes + sizeof(ChosenTarget) * num_targets_;
  auto* const results = static_cast<std::byte*>(results_.Get(device_, result_bytes_));
  round_.drafts = reinterpret_cast<ChosenDraft*>(results);
  round_.targets = reinterpret_cast<ChosenTarget*>(results + draft_bytes);
}

void CudaChooser::Draft(const LogitRows& logits, std::span<const DraftChoice> choices) {
  if (choices.empty()) return;
  device_->Select();
  Append(choices);
  const size_t part_widths = Append(logits.part_widths);
  const std::byte* const at = Send(call_memory_);
  ChooseDrafts(device_->stream(), round_, Join(logits, at + part_widths),
               reinterpret_cast<const DraftChoice*>(at), static_cast<int>(choices.size()));
}

DeviceLogits CudaChooser::Join(const LogitRows& logits, const std::byte* part_widths) {
  const auto* const values = logits.values.as<float>();
  const std::span<const int32_t> widths = logits.part_widths;
  if (widths.empty()) return {values, logits.ids, static_cast<int>(logits.values.cols)};
  const int num_parts = static_cast<int>(widths.size());
  const int width = std::accumulate(widths.begin(), widths.end(), 0);
  auto* const whole = static_cast<float*>(whole_.data());
  JoinParts(device_->stream(), values, reinterpret_cast<const int32_t*>(part_widths), num_parts,
            logits.values.cols, logits.values.rows / num_parts, width, whole);
  return {whole, logits.ids, width};
}

void CudaChooser::Verify(const LogitRows& logits, std::span<const TargetChoice> choices) {
  if (choices.empty()) return;
  device_->Select();
  spans_.clear();
  const int count = static_cast<int>(choices.size());
  for (int i = 0; i < count; ++i) {
    if (modes_[choices[i].sequence] != ChoiceMode::kUnseeded) continue;
    if (i > 0 && choices[i].sequence == choices[i - 1].sequence) {
      ++spans_.back().end;
    } else {
      spans_.push_back({i, i + 1});
    }
  }
  Append(choices);
  const size_t spans = Append(std::span<const VerifySpan>(spans_));
  const size_t part_widths = Append(logits.part_widths);
  const std::byte* const at = Send(call_memory_);
  const auto* on_device = reinterpret_cast<const TargetChoice*>(at);
  const cudaStream_t stream = device_->stream();
  ChooseTargets(stream, round_, Join(logits, at + part_widths), on_device, count);
  VerifyDrafts(stream, round_, on_device, reinterpret_cast<const VerifySpan*>(at + spans),
               static_cast<int>(spans_.size()));
}

ChosenTokens CudaChooser::Read() {
  device_->Select();
  auto* const host = static_cast<std::byte*>(read_.Get(std::max<size_t>(result_bytes_, 1)));
  if (result_bytes_ > 0) {
    Check(cudaMemcpyAsync(host, round_.drafts, result_bytes_, cudaMemcpyDeviceToHost,
                          device_->stream()),
          "reading what was chosen");
  }
  device_->Synchronize();
  const size_t draft_bytes = sizeof(ChosenDraft) * num_slots_;
  return {{reinterpret_cast<const ChosenDraft*>(host), static_cast<size_t>(num_slots_)},
          {reinterpret_cast<const ChosenTarget*>(host + draft_bytes),
           static_cast<size_t>(num_targets_)}};
}

}  // namespace strata::kernels::cuda
