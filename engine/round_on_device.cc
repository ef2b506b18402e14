// The part of a round that lets the model's device choose tokens.

#include <algorithm>
#include <cstddef>
#include <optional>

#include "engine/round.h"

namespace strata {

void RoundExecutor::BeginChoices() {
  drafts_read_ = false;
  choices_->Begin();
  for (const Work& work : works_) {
    choices_->Add(*work.sequence, work.first_position + work.num_rows, work.max_drafts);
  }
  choices_->Start(/*confidences=*/drafting_policy_ != nullptr && !slots_.ids.empty());
}

void RoundExecutor::DraftOnDevice() {
  draft_choices_.clear();
  row_indices_.clear();
  const Instant begin = clock_->Now();
  for (size_t i = 0; i < active_.size(); ++i) {
    Work& work = *active_[i];
    int32_t proposal = -1;
    if (work.sequence->sampler().mode() == Sampler::Mode::kUnseeded) {
      const std::optional<int32_t> taken = choices_->TakeProposal();
      work.drafting = taken.has_value();
      if (!taken) continue;
      proposal = *taken;
    }
    row_indices_.push_back(static_cast<int32_t>(i));
    draft_choices_.push_back({0, work.index, work.num_drafts, proposal});
    slots_.confidences[work.first_slot + work.num_drafts++] = 0;
    work.drafting = work.num_drafts < work.max_drafts;
  }
  choices_->Draft(row_indices_, *draft_head_, draft_choices_);
  head_time_ += Since(begin);
  drafts_read_ = false;
  if (NeedsConfidences()) ReadDrafts();
}

bool RoundExecutor::NeedsConfidences() const {
  return drafting_policy_ != nullptr &&
         std::any_of(active_.begin(), active_.end(), [this](const Work* work) {
           return work->drafting && drafting_policy_->NeedsConfidence(*work->sequence);
         });
}

void RoundExecutor::ReadDrafts() {
  const kernels::ChosenTokens& chosen = choices_->Read();
  for (Work& work : works_) {
    if (work.failed) continue;
    for (int i = 0; i < work.num_drafts; ++i) {
      const int slot = work.first_slot + i;
      const kernels::ChosenDraft& draft = chosen.drafts[slot];
      work.failed = draft.is_finite == 0;
      slots_.ids[slot] = draft.token;
      slots_.confidences[slot] = draft.confidence;
      if (!work.failed && !work.sequence->IsStop(draft.token)) continue;
      // What the device has drafted behind is void.
      work.num_drafts = work.failed ? i : i + 1;
      work.drafting = false;
    }
  }
  drafts_read_ = true;
}

// Rows are visited when the device has told of them: at the end, or, since its logits make room for
// the next, with those that the host looks at.
void RoundExecutor::VerifyOnDevice() {
  const size_t num_rows = logit_rows_.size();
  const size_t at_once = model_->limits().max_logit_rows;
  const size_t width = model_->head().num_tokens;
  size_t num_visited = 0;
  for (size_t first = 0; first < num_rows; first += at_once) {
    const size_t count = std::min(at_once, num_rows - first);
    const auto rows = std::span<const LogitRow>(logit_rows_).subspan(first, count);
    target_choices_.clear();
    for (size_t i = 0; i < count; ++i) {
      const Work& work = *rows[i].work;
      const int num_before = rows[i].offset - (work.num_rows - 1);
      if (num_before < 0) continue;  // of the prompt
      target_choices_.push_back({static_cast<int32_t>(i), work.index, num_before, work.num_drafts,
                                 TargetIndex(work, num_before)});
    }
    const Instant begin = clock_->Now();
    const kernels::LogitRows logits = choices_->Verify(
        std::span(row_indices_).subspan(first, count), model_->head(), target_choices_);
    const bool shows = std::any_of(rows.begin(), rows.end(),
                                   [this](const LogitRow& row) { return ShowsLogits(row); });
    if (shows) ReadDrafts();
    const float* const values = shows ? choices_->ReadLogits(logits) : nullptr;
    head_time_ += Since(begin);
    for (; shows && num_visited < first + count; ++num_visited) {
      const LogitRow& row = logit_rows_[num_visited];
      if (!ShowsLogits(row)) {
        VisitRow(row, nullptr);
      } else {
        const Logits seen({values + (num_visited - first) * width, width});
        VisitRow(row, &seen);
      }
    }
  }
  // Waits in any case: a round's times are its own.
  if (num_visited < num_rows || !drafts_read_) ReadDrafts();
  for (; num_visited < num_rows; ++num_visited) VisitRow(logit_rows_[num_visited], nullptr);
}

bool RoundExecutor::ShowsLogits(const LogitRow& row) const {
  const Sequence& sequence = *row.work->sequence;
  return row.work->first_position + row.offset + 1 < sequence.num_prompt_tokens() ||
         sequence.request()->params.output.logprobs ||
         (row.offset == row.work->num_rows - 1 && probes_.Probes(sequence));
}

bool RoundExecutor::JudgeByDevice(Work& work, int num_before) {
  const kernels::ChosenTarget& target = TargetOf(work, num_before);
  const bool has_draft = num_before < work.num_drafts;
  if (target.token != kernels::ChosenTarget::kNone) {
    verdict_.num_accepted = num_before;
    verdict_.token = target.token;
  }
  if (work.sequence->sampler().mode() != Sampler::Mode::kUnseeded) {
    return has_draft && target.token == slots_.ids[work.first_slot + num_before];
  }
  if (num_before == 0) work.sequence->uniforms().Skip(work.num_drafts);
  work.sequence->uniforms().Skip(choices_->NumUniforms(has_draft, target));
  return target.goes_on != 0;
}

}  // namespace strata
