#include "engine/round.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "engine/softmax.h"
#include "engine/verification.h"

namespace strata {
namespace {

void CountDraftRound(const Sequence& sequence, size_t num_drafts, SpeculationStats& stats) {
  stats.drafted_tokens += static_cast<int>(num_drafts);
  if (stats.accepted_per_position.size() < num_drafts) {
    stats.accepted_per_position.resize(num_drafts, 0);
  }
  auto& by_exit = stats.rounds_per_exit_layer;
  const auto it = std::find_if(by_exit.begin(), by_exit.end(), [&](const auto& entry) {
    return entry.first == sequence.exit_layer;
  });
  if (it == by_exit.end()) {
    by_exit.emplace_back(sequence.exit_layer, 1);
  } else {
    ++it->second;
  }
}

}  // namespace

RoundExecutor::RoundExecutor(Model* model, const Clock* clock)
    : model_(model),
      clock_(clock),
      exit_rows_(model->limits().max_exit_rows),
      draft_head_(&model->head()) {}

RoundExecutor::Result RoundExecutor::Run(const StepPlan& plan) {
  Result result;
  RoundReport& report = result.report;
  const Instant start = clock_->Now();
  const int64_t row_layers_before = model_->row_layers();
  Begin(plan);
  Draft(report);
  report.draft_row_layers = model_->row_layers() - row_layers_before;
  const Instant drafted = clock_->Now();
  SendDrafts();
  Sweep(report);
  const Instant swept = clock_->Now();
  Verify(report);
  for (Work& work : works_) {
    Finish(work, report);
    if (work.failed) result.failed.push_back(work.sequence->request()->id);
  }
  const Instant end = clock_->Now();
  report.draft_time = drafted - start;
  report.sweep_time = swept - drafted;
  report.verify_time = end - swept;
  report.total_time = end - start;
  report.num_sequences = static_cast<int>(works_.size());
  report.preemptions = plan.num_preempted;
  return result;
}

void RoundExecutor::Begin(const StepPlan& plan) {
  works_.clear();
  for (const PlanEntry& entry : plan.entries) {
    Work work;
    work.sequence = entry.sequence;
    work.index = static_cast<int32_t>(works_.size());
    work.first_position = entry.sequence->num_computed();
    work.num_rows = entry.num_rows;
    work.max_drafts = entry.num_draft_tokens;
    work.drafting = entry.num_draft_tokens > 0;
    works_.push_back(std::move(work));
  }
  FillBlockTables();
}

void RoundExecutor::FillBlockTables() {
  size_t longest = 0;
  for (const Work& work : works_) {
    longest = std::max(longest, work.sequence->block_table().size());
  }
  batch_.max_blocks_per_sequence = static_cast<int>(longest);
  batch_.block_tables.assign(works_.size() * longest, 0);
  for (const Work& work : works_) {
    std::copy(work.sequence->block_table().begin(), work.sequence->block_table().end(),
              batch_.block_tables.begin() + static_cast<ptrdiff_t>(work.index * longest));
  }
}

void RoundExecutor::Draft(RoundReport& report) {
  std::vector<Work*> active;
  for (Work& work : works_) {
    if (work.drafting) active.push_back(&work);
  }
  // The rows of any layer are a prefix if those with the last exit come first.
  std::stable_sort(active.begin(), active.end(), [](const Work* a, const Work* b) {
    return a->sequence->exit_layer > b->sequence->exit_layer;
  });
  while (!active.empty()) {
    DraftMicroStep(active);
    ++report.draft_micro_steps;
    std::erase_if(active, [](const Work* work) { return !work->drafting; });
  }
  // Drafts were pushed for the penalties of the drafts after them; they are not committed.
  for (Work& work : works_) {
    for (const TokenId id : work.drafts) work.sequence->sampler().Pop(id);
  }
}

void RoundExecutor::DraftMicroStep(const std::vector<Work*>& active) {
  batch_.rows.clear();
  row_indices_.clear();
  for (Work* work : active) {
    const Sequence& sequence = *work->sequence;
    work->exit_rows.push_back(exit_rows_.Allocate());
    row_indices_.push_back(static_cast<int32_t>(batch_.rows.size()));
    batch_.rows.push_back({work->drafts.empty() ? sequence.tokens().back() : work->drafts.back(),
                           work->first_position + static_cast<int>(work->drafts.size()),
                           work->index,
                           {0, sequence.exit_layer},
                           work->exit_rows.back()});
  }
  model_->Forward(batch_);
  ForEachLogits(row_indices_, *draft_head_,
                [&](size_t i, std::span<const float> logits) { DraftToken(*active[i], logits); });
}

void RoundExecutor::DraftToken(Work& work, std::span<const float> logits) {
  Sequence& sequence = *work.sequence;
  // The sweep fails the request; nothing is drafted on broken logits.
  if (!AllFinite(logits)) {
    work.drafting = false;
    work.failed = true;
    return;
  }
  Sampler& sampler = sequence.sampler();
  TokenId id;
  if (sampler.mode() == Sampler::Mode::kUnseeded) {
    work.proposals.push_back(sampler.Warp(logits, draft_head_->token_ids));
    id = SampleFrom(work.proposals.back(), sequence.uniforms().Next());
  } else {
    const int64_t position = work.first_position + static_cast<int64_t>(work.drafts.size()) + 1;
    id = sampler.Choose(logits, position, draft_head_->token_ids);
  }
  sampler.Push(id);
  work.drafts.push_back(id);
  work.drafting = static_cast<int>(work.drafts.size()) < work.max_drafts && !sequence.IsStop(id);
}

void RoundExecutor::SendDrafts() {
  for (const Work& work : works_) {
    const RequestState& request = *work.sequence->request();
    if (!request.params.output.stream_drafts || work.drafts.empty()) continue;
    request.sink->OnDraft(
        work.sequence->sample_index(),
        {work.drafts, work.sequence->DraftText(work.drafts), work.sequence->exit_layer});
  }
}

void RoundExecutor::Sweep(RoundReport& report) {
  batch_.rows.clear();
  logit_rows_.clear();
  AddSweepRows(logit_rows_);
  for (const Work& work : works_) {
    report.drafted_tokens += static_cast<int>(work.drafts.size());
    const int rows = work.num_rows + static_cast<int>(work.drafts.size());
    (work.sequence->decoding() ? report.decode_rows : report.prefill_rows) += rows;
  }
  model_->Forward(batch_);
}

void RoundExecutor::AddSweepRows(std::vector<LogitRow>& logit_rows) {
  const int num_layers = model_->config().num_layers;
  struct SweepRow {
    Work* work;
    int offset;
    ForwardRow row;
  };
  std::vector<SweepRow> rows;
  for (Work& work : works_) {
    if (work.failed) continue;
    const std::vector<TokenId>& tokens = work.sequence->tokens();
    const int num_drafts = static_cast<int>(work.drafts.size());
    for (int offset = 0; offset < work.num_rows + num_drafts; ++offset) {
      const int position = work.first_position + offset;
      // A row whose early layers a micro-step has run enters at its exit.
      const bool enters_late = offset < static_cast<int>(work.exit_rows.size());
      const TokenId token =
          offset < work.num_rows ? tokens[position] : work.drafts[offset - work.num_rows];
      rows.push_back({&work,
                      offset,
                      {token,
                       position,
                       work.index,
                       {enters_late ? work.sequence->exit_layer : 0, num_layers},
                       enters_late ? work.exit_rows[offset] : -1}});
    }
  }
  std::stable_sort(rows.begin(), rows.end(), [](const SweepRow& a, const SweepRow& b) {
    return a.row.layers.begin < b.row.layers.begin;
  });
  for (const SweepRow& row : rows) {
    if (NeedsLogits(*row.work, row.offset)) {
      logit_rows.push_back({row.work, row.offset, static_cast<int32_t>(batch_.rows.size())});
    }
    batch_.rows.push_back(row.row);
  }
  // A sequence's rows are verified in order of position.
  std::stable_sort(logit_rows.begin(), logit_rows.end(), [](const LogitRow& a, const LogitRow& b) {
    return std::pair(a.work->index, a.offset) < std::pair(b.work->index, b.offset);
  });
}

bool RoundExecutor::NeedsLogits(const Work& work, int offset) const {
  const Sequence& sequence = *work.sequence;
  const GenerateRequest& params = sequence.request()->params;
  const int next = work.first_position + offset + 1;
  if (next >= static_cast<int>(sequence.tokens().size())) {
    return params.stopping.max_new_tokens > 0;
  }
  return params.output.prompt_logprobs && next >= sequence.next_prompt_logprob &&
         next < sequence.num_prompt_tokens();
}

void RoundExecutor::Verify(RoundReport& report) {
  row_indices_.clear();
  for (const LogitRow& row : logit_rows_) row_indices_.push_back(row.row);
  Work* stopped = nullptr;  // the rest of its rows is void: rows of one work are consecutive
  ForEachLogits(row_indices_, model_->head(), [&](size_t i, std::span<const float> logits) {
    const LogitRow& row = logit_rows_[i];
    if (row.work == stopped) return;
    if (!AllFinite(logits)) row.work->failed = true;
    if (row.work->failed || !VisitLogits(*row.work, row.offset, logits)) stopped = row.work;
  });
}

void RoundExecutor::ForEachLogits(
    std::span<const int32_t> rows, const Head& head,
    const std::function<void(size_t, std::span<const float>)>& visit) {
  const size_t width = head.num_tokens;
  const size_t at_once = model_->limits().max_logit_rows;
  for (size_t first = 0; first < rows.size(); first += at_once) {
    const size_t count = std::min(at_once, rows.size() - first);
    const float* logits = model_->Logits(rows.subspan(first, count), head);
    for (size_t i = 0; i < count; ++i) visit(first + i, {logits + i * width, width});
  }
}

// False if the rows of this work after `offset` are void.
bool RoundExecutor::VisitLogits(Work& work, int offset, std::span<const float> logits) {
  const int next = work.first_position + offset + 1;
  if (next < work.sequence->num_prompt_tokens()) {
    ReportPromptLogprobs(work, next, logits);
    return true;
  }
  return CommitNext(work, offset, logits);
}

void RoundExecutor::ReportPromptLogprobs(Work& work, int position, std::span<const float> logits) {
  Sequence& sequence = *work.sequence;
  const RequestState& request = *sequence.request();
  request.sink->OnPromptLogprobs(sequence.sample_index(),
                                 {ComputeLogprobs(logits, request.prompt[position],
                                                  request.params.output.logprobs.value_or(0))});
  sequence.next_prompt_logprob = position + 1;
}

bool RoundExecutor::CommitNext(Work& work, int offset, std::span<const float> logits) {
  Sequence& sequence = *work.sequence;
  Sampler& sampler = sequence.sampler();
  const size_t draft_index = static_cast<size_t>(offset - (work.num_rows - 1));
  const bool has_draft = draft_index < work.drafts.size();
  Verdict verdict;
  if (sampler.mode() != Sampler::Mode::kUnseeded) {
    verdict.token = sampler.Choose(logits, work.first_position + offset + 1);
    verdict.accepted = has_draft && verdict.token == work.drafts[draft_index];
  } else if (has_draft) {
    verdict = VerifyDraft(sampler.Warp(logits), work.proposals[draft_index],
                          work.drafts[draft_index], sequence.uniforms());
  } else {
    verdict.token = SampleFrom(sampler.Warp(logits), sequence.uniforms().Next());
  }
  std::optional<TokenLogprobs> logprobs;
  if (const std::optional<int> num_top = sequence.request()->params.output.logprobs) {
    logprobs = ComputeLogprobs(logits, verdict.token, *num_top);
  }
  sequence.Commit(verdict.token, verdict.accepted, std::move(logprobs));
  if (verdict.accepted) ++work.num_accepted;
  ++work.num_committed;
  return verdict.accepted && !sequence.finish_reason();
}

void RoundExecutor::Finish(Work& work, RoundReport& report) {
  Sequence& sequence = *work.sequence;
  for (const int32_t row : work.exit_rows) exit_rows_.Free(row);
  if (work.failed) return;
  // Keys and values of rejected drafts are void.
  const int num_swept = work.first_position + work.num_rows + static_cast<int>(work.drafts.size());
  sequence.set_num_computed(std::min(num_swept, static_cast<int>(sequence.tokens().size()) - 1));
  if (!work.drafts.empty()) CountDraftRound(sequence, work.drafts.size(), sequence.stats);
  for (int i = 0; i < work.num_accepted; ++i) ++sequence.stats.accepted_per_position[i];
  if (work.num_committed > 0) ++sequence.stats.rounds;
  report.accepted_tokens += work.num_accepted;
  report.emitted_tokens += work.num_committed;
}

}  // namespace strata
