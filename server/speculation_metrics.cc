#include "server/speculation_metrics.h"

namespace strata::server {
namespace {

const char* NameOf(DraftDecision decision) {
  switch (decision) {
    case DraftDecision::kNone:
      return "none";
    case DraftDecision::kDraft:
      return "draft";
    case DraftDecision::kLoad:
      return "load";
    case DraftDecision::kAcceptance:
      return "acceptance";
    case DraftDecision::kLatency:
      return "latency";
    case DraftDecision::kCap:
      return "cap";
  }
  return "unknown";
}

}  // namespace

SpeculationMetrics::SpeculationMetrics(const MetricFactory& factory)
    : drafts_(factory.AddCounter("strata_spec_decode_num_drafts_total",
                                 "Times that a sequence drafted in a round")),
      draft_tokens_(factory.AddCounter("strata_spec_decode_num_draft_tokens_total",
                                       "Tokens drafted by the early layers")),
      accepted_tokens_(factory.AddCounter("strata_spec_decode_num_accepted_tokens_total",
                                          "Drafted tokens that were committed")),
      drafted_by_position_(factory.AddFamily("strata_spec_decode_num_draft_tokens_per_pos_total",
                                             "Tokens drafted, by position in the draft"),
                           "position"),
      accepted_by_position_(
          factory.AddFamily("strata_spec_decode_num_accepted_tokens_per_pos_total",
                            "Drafted tokens that were committed, by position in the draft"),
          "position"),
      drafted_by_exit_(factory.AddFamily("strata_spec_decode_num_draft_tokens_per_exit_total",
                                         "Tokens drafted, by the layer that they exited at"),
                       "exit_layer"),
      accepted_by_exit_(
          factory.AddFamily("strata_spec_decode_num_accepted_tokens_per_exit_total",
                            "Drafted tokens that were committed, by the layer that they exited at"),
          "exit_layer"),
      seconds_(factory.AddCounter("strata_speculation_seconds_total",
                                  "Time of rounds that drafted and computed no prompts")),
      plain_seconds_(factory.AddCounter(
          "strata_speculation_plain_seconds_total",
          "Predicted time in which the rounds in strata_speculation_seconds_total would have "
          "committed their tokens without drafts")),
      expected_speedup_(factory.AddGauge(
          "strata_policy_expected_speedup_ratio",
          "Speed that auto speculation expects, over that of plain decoding; 1: does not draft")),
      policy_rounds_(factory.AddFamily("strata_policy_rounds_total",
                                       "Rounds by what auto speculation decided: draft, or why "
                                       "not: load, acceptance, latency, cap")),
      policy_exits_(factory.AddFamily("strata_policy_exit_rounds_total",
                                      "Rounds in which auto speculation drafted, by exit layer"),
                    "exit_layer"),
      policy_micro_steps_(
          factory.AddCounter("strata_policy_planned_micro_steps_total",
                             "Draft steps that auto speculation expected to be best")),
      policy_probes_(factory.AddCounter("strata_policy_probes_total",
                                        "Drafts that other exits were asked for, to compare them")),
      policy_probe_seconds_(
          factory.AddCounter("strata_policy_probe_seconds_total", "Time of probes")),
      predicted_seconds_(factory.AddCounter("strata_policy_predicted_seconds_total",
                                            "Predicted times of the rounds in "
                                            "strata_round_seconds, without probes")),
      policy_price_(factory.AddGauge("strata_policy_price_tokens_per_second",
                                     "Tokens that a second has to bring")),
      step_time_error_(factory.AddGauge("strata_policy_step_time_error_ratio",
                                        "Mean |actual / predicted - 1| of recent steps' times")),
      calibration_error_(factory.AddGauge("strata_policy_calibration_error_ratio",
                                          "Mean distance of predicted from observed acceptance")) {
  for (const DraftDecision decision :
       {DraftDecision::kDraft, DraftDecision::kLoad, DraftDecision::kAcceptance,
        DraftDecision::kLatency, DraftDecision::kCap}) {
    policy_rounds_.Add({{"decision", NameOf(decision)}});  // shown from the start, at 0
  }
}

void SpeculationMetrics::OnRound(const RoundReport& report) {
  CountDrafts(report);
  ShowSpeedup(report);
  ShowPolicy(report);
}

void SpeculationMetrics::CountDrafts(const RoundReport& report) {
  drafts_.Increment(static_cast<double>(report.drafts.size()));
  draft_tokens_.Increment(report.drafted_tokens);
  accepted_tokens_.Increment(report.accepted_tokens);
  for (const DraftTally& draft : report.drafts) {
    drafted_by_exit_[draft.exit_layer].Increment(draft.num_drafts);
    accepted_by_exit_[draft.exit_layer].Increment(draft.num_accepted);
    for (int i = 0; i < draft.num_drafts; ++i) {
      drafted_by_position_[i].Increment();
      accepted_by_position_[i].Increment(i < draft.num_accepted ? 1 : 0);
    }
  }
}

void SpeculationMetrics::ShowSpeedup(const RoundReport& report) {
  if (report.drafting.plain_seconds == 0) return;
  seconds_.Increment(Seconds(report.total_time));
  plain_seconds_.Increment(report.drafting.plain_seconds);
}

void SpeculationMetrics::ShowPolicy(const RoundReport& report) {
  policy_probes_.Increment(report.num_probes);
  policy_probe_seconds_.Increment(Seconds(report.probe_time));
  const DraftReport& drafting = report.drafting;
  predicted_seconds_.Increment(drafting.predicted_seconds);
  step_time_error_.Set(drafting.step_time_error);
  calibration_error_.Set(drafting.calibration_error);
  if (drafting.decision == DraftDecision::kNone) return;
  policy_rounds_.Add({{"decision", NameOf(drafting.decision)}}).Increment();
  policy_price_.Set(drafting.price);
  expected_speedup_.Set(drafting.expected_speedup);
  if (drafting.decision != DraftDecision::kDraft) return;
  policy_exits_[drafting.exit_layer].Increment();
  policy_micro_steps_.Increment(drafting.micro_steps);
}

}  // namespace strata::server
