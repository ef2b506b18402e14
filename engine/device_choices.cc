#include "engine/device_choices.h"

#include <algorithm>
#include <cstddef>

namespace strata {
namespace {

using kernels::ChoiceMode;
using kernels::ChoiceSequence;

ChoiceMode ModeOf(const Sampler& sampler) {
  switch (sampler.mode()) {
    case Sampler::Mode::kGreedy:
      return ChoiceMode::kGreedy;
    case Sampler::Mode::kSeeded:
      return ChoiceMode::kSeeded;
    case Sampler::Mode::kUnseeded:
      break;
  }
  return ChoiceMode::kUnseeded;
}

// The items of `all` from `begin` on.
template <typename T>
ChoiceSequence::Range From(size_t begin, const std::vector<T>& all) {
  return {static_cast<int32_t>(begin), static_cast<int32_t>(all.size())};
}

}  // namespace

DeviceChoices::DeviceChoices(ChoosingModel* model, Verification verification, int max_logit_rows)
    : model_(model),
      by_token_(verification == Verification::kToken),
      max_logit_rows_(max_logit_rows) {}

void DeviceChoices::Add(const Sequence& sequence, int64_t position, int max_drafts) {
  if (sequences_.empty()) {
    biases_.clear();
    counts_.clear();
    stops_.clear();
    uniforms_.clear();
  }
  const Sampler& sampler = sequence.sampler();
  const SamplingParams& params = sampler.params();
  ChoiceSequence& added = sequences_.emplace_back();
  added.mode = ModeOf(sampler);
  added.temperature = params.temperature;
  added.top_p = params.top_p;
  added.min_p = params.min_p;
  added.top_k = params.top_k;
  added.repetition_penalty = params.repetition_penalty;
  added.presence_penalty = params.presence_penalty;
  added.frequency_penalty = params.frequency_penalty;
  added.seed = params.seed.value_or(0);
  added.sample_index = static_cast<uint32_t>(sampler.sample_index());
  added.position = position;
  added.first_slot = num_slots_;
  added.biases = AddBiases(params);
  added.counts = AddCounts(sampler.counts());
  added.stops = AddStops(*sequence.request());
  added.uniforms = AddUniforms(sequence, max_drafts);
  num_slots_ += max_drafts;
}

DeviceChoices::Range DeviceChoices::AddBiases(const SamplingParams& params) {
  const size_t begin = biases_.size();
  for (const auto& [id, bias] : params.logit_bias) biases_.push_back({id, bias});
  std::stable_sort(biases_.begin() + static_cast<ptrdiff_t>(begin), biases_.end(),
                   [](const auto& a, const auto& b) { return a.id < b.id; });
  return From(begin, biases_);
}

DeviceChoices::Range DeviceChoices::AddCounts(const TokenCounts& counts) {
  const size_t begin = counts_.size();
  for (const auto& [id, entry] : counts.entries()) counts_.push_back({id, entry.generated});
  std::sort(counts_.begin() + static_cast<ptrdiff_t>(begin), counts_.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  return From(begin, counts_);
}

DeviceChoices::Range DeviceChoices::AddStops(const RequestState& request) {
  const size_t begin = stops_.size();
  const StoppingCriteria& stopping = request.params.stopping;
  if (!stopping.ignore_eos) {
    stops_.insert(stops_.end(), request.eos_token_ids.begin(), request.eos_token_ids.end());
  }
  stops_.insert(stops_.end(), stopping.stop_token_ids.begin(), stopping.stop_token_ids.end());
  return From(begin, stops_);
}

// One a draft, and one a row of verification, of which the last may take two.
DeviceChoices::Range DeviceChoices::AddUniforms(const Sequence& sequence, int max_drafts) {
  const size_t begin = uniforms_.size();
  if (sequence.sampler().mode() == Sampler::Mode::kUnseeded) {
    for (int i = 0; i < 2 * max_drafts + 2; ++i) uniforms_.push_back(sequence.uniforms().Peek(i));
  }
  return From(begin, uniforms_);
}

void DeviceChoices::Start(bool confidences) {
  num_proposals_ = 0;
  kernels::ChoiceRound round;
  round.sequences = sequences_;
  round.biases = biases_;
  round.counts = counts_;
  round.stops = stops_;
  round.uniforms = uniforms_;
  round.num_slots = num_slots_;
  round.num_targets = num_slots_ + static_cast<int>(sequences_.size());
  round.by_token = by_token_;
  round.confidences = confidences;
  model_->chooser().Begin(round);
}

std::optional<int32_t> DeviceChoices::TakeProposal() {
  if (num_proposals_ == model_->chooser().num_proposals()) return std::nullopt;
  return num_proposals_++;
}

void DeviceChoices::Draft(std::span<const int32_t> rows, const Head& head,
                          std::span<kernels::DraftChoice> choices) {
  for (size_t first = 0; first < rows.size(); first += max_logit_rows_) {
    const size_t count = std::min<size_t>(max_logit_rows_, rows.size() - first);
    for (size_t i = 0; i < count; ++i) choices[first + i].row = static_cast<int32_t>(i);
    const kernels::LogitRows logits = model_->LogitsOnDevice(rows.subspan(first, count), head);
    model_->chooser().Draft(logits, choices.subspan(first, count));
  }
}

kernels::LogitRows DeviceChoices::Verify(std::span<const int32_t> rows, const Head& head,
                                         std::span<const kernels::TargetChoice> choices) {
  const kernels::LogitRows logits = model_->LogitsOnDevice(rows, head);
  model_->chooser().Verify(logits, choices);
  return logits;
}

}  // namespace strata
