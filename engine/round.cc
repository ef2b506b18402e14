#include "engine/round.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace strata {
namespace {

void CountDraftRound(int num_drafts, Sequence& sequence) {
  SpeculationStats& stats = sequence.stats;
  stats.drafted_tokens += num_drafts;
  if (stats.accepted_per_position.size() < static_cast<size_t>(num_drafts)) {
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

RoundExecutor::RoundExecutor(const RoundOptions& options, Model* model, const Clock* clock)
    : model_(model),
      clock_(clock),
      exit_rows_(model->limits().max_exit_rows),
      probes_(model, &exit_rows_, clock),
      draft_head_(&model->head()),
      proposals_(options.proposal_bytes),
      verifier_(options.verification) {
  if (model->choosing() != nullptr) {
    choices_.emplace(model->choosing(), options.verification, model->limits().max_logit_rows);
  }
}

void RoundExecutor::DraftSlots::Resize(size_t size) {
  ids.resize(size);
  confidences.resize(size);
  proposals.resize(size);
  exit_cache_rows.resize(size);
}

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
  probes_.Propose(*draft_head_);
  Verify();
  for (Work& work : works_) {
    Finish(work, report);
    if (work.failed) result.failed.push_back(work.sequence->request()->id);
  }
  report.num_probes = probes_.num_probes();
  probes_.End(drafting_policy_);
  const Instant end = clock_->Now();
  report.draft_time = drafted - start;
  report.sweep_time = swept - drafted;
  report.probe_time = probes_.time();
  report.verify_time = end - swept - report.probe_time;
  report.total_time = end - start;
  report.head_time = head_time_;
  report.drafts = tallies_;
  report.num_sequences = static_cast<int>(works_.size());
  report.preemptions = plan.num_preempted;
  return result;
}

void RoundExecutor::Begin(const StepPlan& plan) {
  works_.clear();
  tallies_.clear();
  head_time_ = {};
  int num_slots = 0;
  for (const PlanEntry& entry : plan.entries) {
    Work& work = works_.emplace_back();
    work.sequence = entry.sequence;
    work.index = static_cast<int32_t>(works_.size()) - 1;
    work.first_position = entry.sequence->num_computed();
    work.num_rows = entry.num_rows;
    work.max_drafts = entry.num_draft_tokens;
    work.first_slot = num_slots;
    work.drafting = entry.num_draft_tokens > 0;
    num_slots += entry.num_draft_tokens;
  }
  slots_.Resize(num_slots);
  proposals_.Clear();
  probes_.Begin(drafting_policy_ != nullptr ? drafting_policy_->ChooseProbes()
                                            : std::span<const WantedProbe>());
  FillBlockTables();
  if (choices_) BeginChoices();
}

void RoundExecutor::FillBlockTables() {
  size_t longest = 0;
  for (const Work& work : works_) {
    longest = std::max(longest, work.sequence->block_table().size());
  }
  batch_.max_blocks_per_sequence = static_cast<int>(longest);
  batch_.block_tables.resize(works_.size() * longest);
  for (const Work& work : works_) {
    std::copy(work.sequence->block_table().begin(), work.sequence->block_table().end(),
              batch_.block_tables.begin() + static_cast<ptrdiff_t>(work.index * longest));
  }
}

void RoundExecutor::Draft(RoundReport& report) {
  SortByExit();
  active_ = by_exit_;
  while (!active_.empty()) {
    DraftMicroStep(report);
    ++report.draft_micro_steps;
    std::erase_if(active_, [](const Work* work) { return !work->drafting; });
    ReviewDrafts(report.draft_micro_steps);
  }
  report.draft_timed = !choices_ || drafts_read_ || by_exit_.empty();
  if (choices_) return;
  // Drafts were pushed for the penalties of the drafts after them; they are not committed.
  for (Work& work : works_) {
    for (const TokenId id : Drafts(work)) work.sequence->sampler().Pop(id);
  }
}

// The rows of any layer are a prefix if those with the last exit come first.
void RoundExecutor::SortByExit() {
  by_exit_.clear();
  for (Work& work : works_) {
    if (work.drafting) by_exit_.push_back(&work);
  }
  std::sort(by_exit_.begin(), by_exit_.end(), [](const Work* a, const Work* b) {
    const int exit_a = a->sequence->exit_layer, exit_b = b->sequence->exit_layer;
    return exit_a != exit_b ? exit_a > exit_b : a->index < b->index;
  });
}

void RoundExecutor::DraftMicroStep(RoundReport& report) {
  batch_.Clear();
  row_indices_.clear();
  for (Work* work : active_) {
    const Sequence& sequence = *work->sequence;
    if (work->num_drafts == 0) TapProbes(*work, {0, sequence.exit_layer});
    const int32_t exit_cache_row = exit_rows_.Allocate();
    slots_.exit_cache_rows[work->first_slot + work->num_exit_rows++] = exit_cache_row;
    row_indices_.push_back(static_cast<int32_t>(batch_.rows.size()));
    batch_.rows.push_back({TokenAt(*work, work->num_drafts),
                           work->first_position + work->num_drafts,
                           work->index,
                           {0, sequence.exit_layer},
                           exit_cache_row,
                           DraftSlotAt(*work, work->num_drafts)});
  }
  const Instant begin = clock_->Now();
  model_->Forward(batch_);
  report.draft_layers_time += Since(begin);
  if (choices_) return DraftOnDevice();
  ForEachLogits(*draft_head_,
                [&](size_t i, const Logits& logits) { DraftToken(*active_[i], logits); });
}

// Of the row at `offset`: a draft's where the device has it is not known.
TokenId RoundExecutor::TokenAt(const Work& work, int offset) const {
  if (offset < work.num_rows) return work.sequence->tokens()[work.first_position + offset];
  return choices_ ? 0 : Drafts(work)[offset - work.num_rows];
}

int32_t RoundExecutor::DraftSlotAt(const Work& work, int offset) const {
  return choices_ && offset >= work.num_rows ? work.first_slot + offset - work.num_rows : -1;
}

void RoundExecutor::DraftToken(Work& work, const Logits& logits) {
  // The sweep fails the request; nothing is drafted on broken logits.
  work.failed = !logits.scan.finite;
  TokenId id;
  if (work.failed || !ChooseDraft(work, logits, &id)) {
    work.drafting = false;
    return;
  }
  const int slot = work.first_slot + work.num_drafts++;
  slots_.ids[slot] = id;
  const bool wanted =
      drafting_policy_ != nullptr && drafting_policy_->NeedsConfidence(*work.sequence);
  slots_.confidences[slot] = wanted ? ProbabilityOf(id, logits) : 0;
  work.sequence->sampler().Push(id);
  work.drafting = work.num_drafts < work.max_drafts && !work.sequence->IsStop(id);
}

bool RoundExecutor::ChooseDraft(Work& work, const Logits& logits, TokenId* id) {
  const Sampler& sampler = work.sequence->sampler();
  if (sampler.mode() != Sampler::Mode::kUnseeded) {
    *id = sampler.Choose(logits, work.first_position + work.num_drafts + 1, scratch_);
    return true;
  }
  // Whether there is a draft must not depend on which: it is drawn last.
  const std::optional<Distribution> kept =
      proposals_.Keep(sampler.Warp(logits, scratch_), logits.ids);
  if (!kept) return false;
  slots_.proposals[work.first_slot + work.num_drafts] = *kept;
  *id = SampleFrom(*kept, work.sequence->uniforms().Next());
  return true;
}

void RoundExecutor::ReviewDrafts(int num_micro_steps) {
  if (drafting_policy_ == nullptr || active_.empty()) return;
  drafting_rows_.clear();
  for (const Work* work : active_) {
    drafting_rows_.push_back({work->sequence, work->num_drafts,
                              slots_.confidences[work->first_slot + work->num_drafts - 1]});
  }
  drafting_policy_->ReviewDrafts(num_micro_steps, drafting_rows_);
  for (size_t i = 0; i < active_.size(); ++i)
    active_[i]->drafting = drafting_rows_[i].keep_drafting;
  std::erase_if(active_, [](const Work* work) { return !work->drafting; });
}

void RoundExecutor::SendDrafts() {
  const auto shows = [](const Work& work) {
    return work.num_drafts > 0 && work.sequence->request()->params.output.stream_drafts;
  };
  if (choices_ && std::any_of(works_.begin(), works_.end(), shows)) ReadDrafts();
  for (const Work& work : works_) {
    if (!shows(work)) continue;
    const RequestState& request = *work.sequence->request();
    const std::span<const TokenId> drafts = Drafts(work);
    request.sink->OnDraft(work.sequence->sample_index(), {{drafts.begin(), drafts.end()},
                                                          work.sequence->DraftText(drafts),
                                                          work.sequence->exit_layer});
  }
}

// Rows stand in the order in which layers take them in: first those that begin at layer 0, then,
// by ascending exit, those whose early layers a micro-step has run.
void RoundExecutor::Sweep(RoundReport& report) {
  batch_.Clear();
  for (Work& work : works_) {
    const int num_rows = work.num_rows + work.num_drafts;
    (work.sequence->decoding() ? report.decode_rows : report.prefill_rows) += num_rows;
    if (work.failed) continue;
    work.early_row = static_cast<int>(batch_.rows.size());
    for (int offset = work.num_exit_rows; offset < num_rows; ++offset) AddSweepRow(work, offset);
  }
  for (auto it = by_exit_.rbegin(); it != by_exit_.rend(); ++it) {
    Work& work = **it;
    if (work.failed) continue;
    work.late_row = static_cast<int>(batch_.rows.size());
    for (int offset = 0; offset < work.num_exit_rows; ++offset) AddSweepRow(work, offset);
  }
  model_->Forward(batch_);
}

void RoundExecutor::AddSweepRow(const Work& work, int offset) {
  const Sequence& sequence = *work.sequence;
  const bool enters_late = offset < work.num_exit_rows;
  const LayerRange layers{enters_late ? sequence.exit_layer : 0, model_->config().num_layers};
  if (offset == work.num_rows - 1) TapProbes(work, layers);
  batch_.rows.push_back({TokenAt(work, offset), work.first_position + offset, work.index, layers,
                         enters_late ? slots_.exit_cache_rows[work.first_slot + offset] : -1,
                         DraftSlotAt(work, offset)});
}

// Of the row that is added next to the batch.
void RoundExecutor::TapProbes(const Work& work, LayerRange layers) {
  if (probes_.empty()) return;
  probes_.Tap(*work.sequence, static_cast<int>(batch_.rows.size()), layers, &batch_.taps);
}

// In the order of verification: by work, then by position.
void RoundExecutor::FindLogitRows() {
  logit_rows_.clear();
  row_indices_.clear();
  for (Work& work : works_) {
    if (work.failed) continue;
    for (int offset = 0; offset < work.num_rows + work.num_drafts; ++offset) {
      if (!NeedsLogits(work, offset)) continue;
      logit_rows_.push_back({&work, offset});
      row_indices_.push_back(offset < work.num_exit_rows
                                 ? work.late_row + offset
                                 : work.early_row + offset - work.num_exit_rows);
    }
  }
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

void RoundExecutor::Verify() {
  FindLogitRows();
  settled_ = nullptr;
  if (choices_) return VerifyOnDevice();
  ForEachLogits(model_->head(),
                [&](size_t i, const Logits& logits) { VisitRow(logit_rows_[i], &logits); });
}

void RoundExecutor::VisitRow(const LogitRow& row, const Logits* logits) {
  Work& work = *row.work;
  if (&work == settled_ || work.failed) return;
  work.failed = logits != nullptr ? !logits->scan.finite
                                  : TargetOf(work, row.offset - (work.num_rows - 1)).is_finite == 0;
  if (work.failed || !VisitLogits(work, row.offset, logits)) settled_ = &work;
}

template <typename Visit>
void RoundExecutor::ForEachLogits(const Head& head, Visit visit) {
  const std::span<const int32_t> rows = row_indices_;
  const size_t width = head.num_tokens;
  const size_t at_once = model_->limits().max_logit_rows;
  for (size_t first = 0; first < rows.size(); first += at_once) {
    const size_t count = std::min(at_once, rows.size() - first);
    const Instant begin = clock_->Now();
    const float* values = model_->Logits(rows.subspan(first, count), head);
    head_time_ += Since(begin);
    for (size_t i = 0; i < count; ++i) {
      visit(first + i, Logits({values + i * width, width}, head.token_ids));
    }
  }
}

bool RoundExecutor::VisitLogits(Work& work, int offset, const Logits* logits) {
  const int next = work.first_position + offset + 1;
  if (next < work.sequence->num_prompt_tokens()) {
    ReportPromptLogprobs(work, next, *logits);
    return true;
  }
  if (offset == work.num_rows - 1 && probes_.Probes(*work.sequence)) {
    probes_.Compare(*work.sequence, *logits);
  }
  return VerifyRow(work, offset, logits);
}

void RoundExecutor::ReportPromptLogprobs(Work& work, int position, const Logits& logits) {
  Sequence& sequence = *work.sequence;
  const RequestState& request = *sequence.request();
  request.sink->OnPromptLogprobs(sequence.sample_index(),
                                 {ComputeLogprobs(logits, request.prompt[position],
                                                  request.params.output.logprobs.value_or(0))});
  sequence.next_prompt_logprob = position + 1;
}

bool RoundExecutor::VerifyRow(Work& work, int offset, const Logits* logits) {
  const int num_before = offset - (work.num_rows - 1);
  if (num_before == 0) {
    verifier_.Begin();
    verdict_.draft_logprobs.clear();
  }
  const bool goes_on = Judge(work, num_before, logits);
  KeepLogprobs(work, num_before, logits);
  Sampler& sampler = work.sequence->sampler();
  const std::span<const TokenId> drafts = Drafts(work);
  if (goes_on) {
    sampler.Push(drafts[num_before]);  // assumed by the rows after it
    return true;
  }
  for (const TokenId id : drafts.first(num_before)) sampler.Pop(id);
  Commit(work);
  return false;
}

bool RoundExecutor::Judge(Work& work, int num_before, const Logits* logits) {
  if (choices_) return JudgeByDevice(work, num_before);
  Sequence& sequence = *work.sequence;
  const Sampler& sampler = sequence.sampler();
  const bool has_draft = num_before < work.num_drafts;
  const int slot = work.first_slot + num_before;
  if (sampler.mode() != Sampler::Mode::kUnseeded) {
    const int position = work.first_position + work.num_rows + num_before;
    verdict_.num_accepted = num_before;
    verdict_.token = sampler.Choose(*logits, position, scratch_);
    return has_draft && verdict_.token == slots_.ids[slot];
  }
  Proposal proposal;
  if (has_draft) proposal = {slots_.ids[slot], slots_.proposals[slot]};
  const bool goes_on = verifier_.AddRow(sampler.Warp(*logits, scratch_),
                                        has_draft ? &proposal : nullptr, sequence.uniforms());
  verdict_.num_accepted = verifier_.num_accepted();
  verdict_.token = verifier_.token();
  return goes_on;
}

// A row may give both its draft, should that be accepted, and the token in its place.
void RoundExecutor::KeepLogprobs(const Work& work, int num_before, const Logits* logits) {
  const std::optional<int>& num_top = work.sequence->request()->params.output.logprobs;
  if (!num_top) return;
  if (verdict_.num_accepted == num_before) {
    verdict_.token_logprobs = ComputeLogprobs(*logits, verdict_.token, *num_top);
  }
  if (num_before < work.num_drafts) {
    verdict_.draft_logprobs.push_back(ComputeLogprobs(*logits, Drafts(work)[num_before], *num_top));
  }
}

void RoundExecutor::Commit(Work& work) {
  Sequence& sequence = *work.sequence;
  const bool with_logprobs = sequence.request()->params.output.logprobs.has_value();
  while (work.num_accepted < verdict_.num_accepted && !sequence.finish_reason()) {
    const int i = work.num_accepted++;
    std::optional<TokenLogprobs> logprobs;
    if (with_logprobs) logprobs = std::move(verdict_.draft_logprobs[i]);
    sequence.Commit(Drafts(work)[i], /*drafted=*/true, std::move(logprobs));
  }
  work.num_committed = work.num_accepted;
  if (sequence.finish_reason()) return;
  sequence.Commit(verdict_.token, /*drafted=*/false,
                  with_logprobs ? std::move(verdict_.token_logprobs) : std::nullopt);
  ++work.num_committed;
}

void RoundExecutor::Finish(Work& work, RoundReport& report) {
  Sequence& sequence = *work.sequence;
  for (int i = 0; i < work.num_exit_rows; ++i) {
    exit_rows_.Free(slots_.exit_cache_rows[work.first_slot + i]);
  }
  report.drafted_tokens += work.num_drafts;
  if (work.failed) return;
  // Keys and values of rejected drafts are void.
  const int num_swept = work.first_position + work.num_rows + work.num_drafts;
  sequence.set_num_computed(std::min(num_swept, static_cast<int>(sequence.tokens().size()) - 1));
  if (work.num_drafts > 0) {
    CountDraftRound(work.num_drafts, sequence);
    tallies_.push_back({sequence.exit_layer, work.num_drafts, work.num_accepted});
    if (drafting_policy_ != nullptr) {
      drafting_policy_->OnVerified(
          {&sequence, std::span(slots_.confidences).subspan(work.first_slot, work.num_drafts),
           work.num_accepted});
    }
  }
  for (int i = 0; i < work.num_accepted; ++i) ++sequence.stats.accepted_per_position[i];
  if (work.num_committed > 0) ++sequence.stats.rounds;
  report.accepted_tokens += work.num_accepted;
  report.emitted_tokens += work.num_committed;
}

void RoundExecutor::Describe(RoundRecord* record) const {
  record->num_sequences = static_cast<uint32_t>(works_.size());
  const size_t count = std::min(works_.size(), RoundRecord::kMaxSequences);
  for (size_t i = 0; i < count; ++i) {
    const Work& work = works_[i];
    record->sequences[i] = {work.sequence->request()->id,
                            static_cast<uint32_t>(work.num_rows),
                            static_cast<uint8_t>(work.sequence->sample_index()),
                            static_cast<uint8_t>(work.num_drafts),
                            static_cast<uint8_t>(work.num_accepted),
                            static_cast<uint8_t>(work.num_committed)};
  }
}

}  // namespace strata
