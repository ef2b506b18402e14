#include "engine/policy/auto_drafting.h"

#include <chrono>

namespace strata {
namespace {

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

void AutoDrafting::Accept(Sequence& sequence, const Speculation& speculation) {
  sequence.draft_row = std::make_unique<DraftRow>();
  DraftRow& row = *sequence.draft_row;
  row.mode = sequence.sampler().mode();
  row.tenant = controller_.Tenant(sequence.request()->params.tenant.name);
  row.most_drafts = speculation.num_draft_tokens;
  row.sequence = &sequence;
  switch (speculation.mode) {
    case Speculation::Mode::kOff:
      break;
    case Speculation::Mode::kFixed:
      row.kind = DraftRow::Kind::kPinned;
      row.exit_layer = speculation.exit_layer;
      break;
    case Speculation::Mode::kAuto:
      row.kind = DraftRow::Kind::kAuto;
      row.exit_layers = sequence.request()->params.speculation.exit_layers;
      break;
  }
}

void AutoDrafting::BeforePlan(std::span<Sequence* const> running) {
  rows_.clear();
  for (Sequence* sequence : running) {
    if (!sequence->decoding()) continue;
    DraftRow& row = *sequence->draft_row;
    row.context_tokens = sequence->num_computed();
    row.tokens_left = sequence->num_tokens_left();
    rows_.push_back(&row);
  }
  controller_.Plan(rows_, last_prefill_rows_);
  for (Sequence* sequence : running) {
    sequence->exit_layer = sequence->draft_row->exit_layer;
    sequence->num_draft_tokens = sequence->draft_row->num_drafts;
  }
}

void AutoDrafting::AfterPlan(const StepPlan& plan, double draft_head_share) {
  rows_.clear();
  DraftController::Schedule schedule;
  for (const PlanEntry& entry : plan.entries) {
    if (entry.sequence->decoding()) {
      entry.sequence->draft_row->num_drafts = entry.num_draft_tokens;
      rows_.push_back(entry.sequence->draft_row.get());
      continue;
    }
    schedule.prefill_rows += entry.num_rows;
    schedule.prefill_context_tokens +=
        entry.num_rows * (entry.sequence->num_computed() + 0.5 * entry.num_rows);
    if (entry.num_rows == entry.sequence->num_pending()) ++schedule.prefill_logit_rows;
  }
  last_prefill_rows_ = schedule.prefill_rows;
  schedule.rows = rows_;
  schedule.draft_head_share = draft_head_share;
  controller_.Begin(schedule);
}

std::span<const WantedProbe> AutoDrafting::ChooseProbes() {
  probes_.clear();
  for (const DraftController::Probe& probe : controller_.ChooseProbes()) {
    probes_.push_back({probe.row->sequence, probe.exit_layer});
  }
  return probes_;
}

void AutoDrafting::ReviewDrafts(int, std::span<DraftingRow> rows) {
  rows_.clear();
  for (const DraftingRow& drafting : rows) {
    DraftRow* const row = drafting.sequence->draft_row.get();
    row->drafted = drafting.num_drafts;
    row->confidence = drafting.confidence;
    rows_.push_back(row);
  }
  controller_.Review(rows_);
  for (DraftingRow& drafting : rows) {
    drafting.keep_drafting = drafting.sequence->draft_row->keep_drafting;
  }
}

void AutoDrafting::OnVerified(const DraftOutcome& outcome) {
  controller_.Verified(*outcome.sequence->draft_row, outcome.confidences, outcome.num_accepted,
                       outcome.sequence->finish_reason().has_value());
}

void AutoDrafting::OnProbed(const ProbeOutcome& outcome) {
  controller_.Probed({outcome.sequence->draft_row.get(), outcome.exit_layer}, outcome.confidence,
                     outcome.acceptance);
}

void AutoDrafting::AfterRound(RoundReport& report) {
  DraftController::Outcome outcome;
  outcome.draft_seconds = Seconds(report.draft_time);
  outcome.draft_timed = report.draft_timed;
  outcome.sweep_seconds = Seconds(report.sweep_time + report.verify_time);
  outcome.probe_seconds = Seconds(report.probe_time);
  outcome.emitted_tokens = report.emitted_tokens;
  controller_.End(outcome);
  report.drafting = controller_.report();
}

}  // namespace strata
