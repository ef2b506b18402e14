#include "engine/policy/draft_controller.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace strata {
namespace {

// Drafting must promise so much more to begin, or to move to another exit; and so much to go on.
constexpr double kHysteresis = 1.03;
constexpr double kWorthwhile = 1.01;
// What drafting brought over what it promised counts up to here: beyond, it was promised before the
// models knew what they know now.
constexpr double kMostDistrust = 0.06;
constexpr int kRoundsBetweenExitChoices = 16;
constexpr int kRoundsToConfirmAnExit = 4;
constexpr size_t kMostSampledRows = 32;
// A plan is not searched on once it has fallen so far behind the best.
constexpr double kHopeless = 0.97;

// Probes that are free in the beginning, when nothing is known.
constexpr int kFreeProbeRounds = 8;
// What probes and trials did not take is kept up to this part of a round.
constexpr double kMostSaved = 0.05;
// Standard deviations of what is known about costs, by which drafts may turn out to be cheaper.
constexpr double kHope = 3;
// Rounds without drafts before one is tried: probes speak first.
constexpr int kRoundsBeforeATrial = 64;

}  // namespace

std::vector<int> CandidateExits(int num_layers) {
  std::vector<int> exits;
  for (const double part : {1.0 / 16, 1.0 / 8, 3.0 / 16, 1.0 / 4, 3.0 / 8, 1.0 / 2}) {
    const int exit = std::clamp(static_cast<int>(std::lround(part * num_layers)), 1,
                                std::max(1, num_layers - 1));
    if (exits.empty() || exits.back() < exit) exits.push_back(exit);
  }
  return exits;
}

DraftController::DraftController(DraftControllerConfig config, const CostProfile& costs)
    : config_(std::move(config)),
      prices_(costs),
      acceptance_(config_.num_layers),
      exit_layer_(config_.exit_layers.front()),
      rounds_until_trial_(kRoundsBeforeATrial) {
  gains_.resize(config_.most_drafts);
  counts_.resize(config_.most_drafts);
  work_.Clear();
  work_.AddPass();
  work_.AddHead(config_.most_probes, 1);
  probe_budget_seconds_ = kFreeProbeRounds * prices_.costs().Seconds(work_);
}

int DraftController::Limit(const DraftRow& row) const {
  int limit = std::min(config_.most_drafts, row.tokens_left - 1);
  if (row.kind == DraftRow::Kind::kPinned || row.most_drafts > 0) {
    limit = std::min(limit, row.most_drafts);
  }
  return std::max(limit, 0);
}

SweepRows DraftController::SweepOf(std::span<DraftRow* const> rows, double prefill_rows) const {
  SweepRows sweep;
  sweep.num_layers = config_.num_layers;
  sweep.rows = static_cast<double>(rows.size()) + prefill_rows;
  sweep.logit_rows = static_cast<double>(rows.size());
  for (const DraftRow* row : rows) {
    sweep.context_tokens += row->context_tokens;
    sweep.choices[static_cast<int>(row->mode)] += 1;
  }
  return sweep;
}

// ---- Before scheduling

void DraftController::Plan(std::span<DraftRow* const> rows, int prefill_rows) {
  report_ = {};
  is_trial_ = false;
  report_.exit_layer = exit_layer_;
  autos_.clear();
  for (DraftRow* row : rows) {
    row->num_drafts = row->kind == DraftRow::Kind::kPinned ? Limit(*row) : 0;
    if (row->kind != DraftRow::Kind::kAuto) continue;
    row->odds = tenants_.factor(row->tenant).odds * row->factor.odds;
    autos_.push_back(row);
  }
  if (autos_.empty()) return;
  expected_prefill_rows_ = prefill_rows;
  sweep_ = SweepOf(rows, 0);
  ChooseExits();
  for (DraftRow* row : autos_) {
    if (row->exit_layers.empty()) row->exit_layer = exit_layer_;
  }
  const Estimate estimate = EstimateBatch(autos_, 1, 0, sweep_);
  Decide(estimate);
  if (drafting_) {
    GrantDrafts();
  } else {
    ConsiderTrial();
  }
}

double DraftController::Chance(const DraftRow& row, int exit_layer, int index, int previous) const {
  return WithOdds(acceptance_.BeforeDraft(row.mode, exit_layer, index, previous), row.odds);
}

void DraftController::AddGains(std::span<DraftRow* const> rows, double weight, int exit_layer,
                               const SweepRows& sweep) {
  candidates_.Clear();
  std::fill(gains_.begin(), gains_.end(), 0.0);
  std::fill(counts_.begin(), counts_.end(), 0.0);
  const auto exit_of = [exit_layer](const DraftRow& row) {
    return exit_layer > 0 ? exit_layer : row.exit_layer;
  };
  for (const DraftRow* row : rows) {
    if (Limit(*row) == 0) continue;
    candidates_.Add(exit_of(*row), row->mode, weight, weight * row->context_tokens);
  }
  if (candidates_.empty()) return;
  // Of several rows, those whose drafts are not worth their own part of the cost do not join in.
  const double least =
      rows.size() > 1 ? price_ * prices_.Row(candidates_, sweep, candidates_) : 0.0;
  for (DraftRow* row : rows) {
    double survival = 1;
    double chance = 0;
    row->gain = 0;
    for (int k = 0; k < Limit(*row); ++k) {
      if (k == 0 || AcceptanceModel::PositionClass(k) != AcceptanceModel::PositionClass(k - 1)) {
        chance = Chance(*row, exit_of(*row), k, AcceptanceModel::kAny);
      }
      survival *= chance;
      if (survival <= least) break;
      if (k == 0) row->gain = static_cast<float>(survival);
      gains_[k] += weight * survival;
      counts_[k] += weight;
    }
  }
}

DraftController::Estimate DraftController::EstimateBatch(std::span<DraftRow* const> rows,
                                                         double weight, int exit_layer,
                                                         const SweepRows& sweep) {
  AddGains(rows, weight, exit_layer, sweep);
  drafts_.Clear();
  Estimate best;
  double tokens = weight * static_cast<double>(rows.size());
  double draft_seconds = 0;
  double num_drafts = 0;
  best.promised_plain = best.promised = tokens / prices_.Sweep(sweep, drafts_, 1);
  const double prompts = prices_.Prompts(sweep);
  best.plain = best.tokens_per_second = tokens / prices_.NetSweep(sweep, drafts_, 1, prompts);
  for (int k = 0; k < config_.most_drafts && counts_[k] > 0; ++k) {
    tokens += gains_[k];
    num_drafts += counts_[k];
    draft_seconds += prices_.MicroStep(candidates_, counts_[k] / candidates_.rows());
    const double scale = num_drafts / candidates_.rows();
    const double rate =
        tokens / (draft_seconds + prices_.NetSweep(sweep, candidates_, scale, prompts));
    best.drafting = std::max(best.drafting, rate);
    if (rate < kHopeless * best.tokens_per_second) break;
    if (rate <= best.tokens_per_second) continue;
    if (IsLate(draft_seconds, sweep, scale)) {
      best.late = true;
      break;
    }
    best.tokens_per_second = rate;
    best.promised = tokens / (draft_seconds + prices_.Sweep(sweep, candidates_, scale));
    best.micro_steps = k + 1;
  }
  return best;
}

bool DraftController::IsLate(double draft_seconds, SweepRows sweep, double scale) {
  if (config_.latency_ceiling_seconds == 0) return false;
  sweep.rows += expected_prefill_rows_;
  return draft_seconds + prices_.Sweep(sweep, candidates_, scale) > config_.latency_ceiling_seconds;
}

void DraftController::ChooseExits() {
  for (DraftRow* row : autos_) {
    if (!row->exit_layers.empty() && (row->exit_layer == 0 || rounds_until_exit_choice_ == 0)) {
      row->exit_layer = BestExitOf(*row);
    }
  }
  const size_t rows = autos_.size();
  const bool other_load = rows >= 2 * rows_at_exit_choice_ || 2 * rows <= rows_at_exit_choice_;
  if (rounds_until_exit_choice_ > 0 && !other_load) {
    --rounds_until_exit_choice_;
    return;
  }
  rounds_until_exit_choice_ = kRoundsBetweenExitChoices;
  rows_at_exit_choice_ = rows;
  ChooseSharedExit();
  DraftRow* const one = autos_.front();
  if (one->exit_layers.empty()) one->exit_layer = exit_layer_;
  const bool one_would = EstimateBatch({&one, 1}, 1, 0, SweepOf({&one, 1}, 0)).micro_steps > 0;
  off_reason_ = rows > 1 && one_would ? DraftDecision::kLoad : DraftDecision::kAcceptance;
}

// Rows that share an exit share the weights that their micro-steps read, so all that leave the
// choice to the controller have one.
void DraftController::ChooseSharedExit() {
  sampled_.clear();
  const size_t stride = (autos_.size() + kMostSampledRows - 1) / kMostSampledRows;
  for (size_t i = 0; i < autos_.size(); i += stride) sampled_.push_back(autos_[i]);
  const double weight = static_cast<double>(autos_.size()) / static_cast<double>(sampled_.size());
  const auto rate = [&](int exit) {
    return EstimateBatch(sampled_, weight, exit, sweep_).drafting;
  };
  int best = exit_layer_;
  const double present_rate = rate(exit_layer_);
  double best_rate = present_rate;
  for (const int exit : config_.exit_layers) {
    const double exit_rate = exit == exit_layer_ ? present_rate : rate(exit);
    if (exit_rate > best_rate) best = exit, best_rate = exit_rate;
  }
  if (best_rate <= kHysteresis * present_rate) {
    better_exit_ = 0;
  } else if (better_exit_ == best || !exit_chosen_) {
    exit_layer_ = best;
    better_exit_ = 0;
  } else {
    better_exit_ = best;
    rounds_until_exit_choice_ = kRoundsToConfirmAnExit;
  }
  exit_chosen_ = true;
}

int DraftController::BestExitOf(DraftRow& row) {
  DraftRow* const one = &row;
  int best = row.exit_layers.front();
  double best_rate = 0;
  for (const int exit : row.exit_layers) {
    const double rate = EstimateBatch({&one, 1}, 1, exit, SweepOf({&one, 1}, 0)).drafting;
    if (rate > best_rate) best = exit, best_rate = rate;
  }
  return best;
}

void DraftController::Decide(const Estimate& estimate) {
  const double plain = plain_ledger_.truth() * estimate.plain;
  const double truth = std::clamp(draft_ledger_.truth() / plain_ledger_.truth(), 1 - kMostDistrust,
                                  1 + kMostDistrust);
  const double drafting = truth * plain_ledger_.truth() * estimate.tokens_per_second;
  drafting_ =
      estimate.micro_steps > 0 && drafting > (drafting_ ? kWorthwhile : kHysteresis) * plain;
  promised_rate_ = drafting_ ? estimate.promised : estimate.promised_plain;
  price_ = drafting_ ? drafting : plain;
  report_.price = price_;
  report_.micro_steps = drafting_ ? estimate.micro_steps : 0;
  const bool any_may = std::any_of(autos_.begin(), autos_.end(),
                                   [this](const DraftRow* row) { return Limit(*row) > 0; });
  report_.decision = drafting_                                    ? DraftDecision::kDraft
                     : !any_may                                   ? DraftDecision::kCap
                     : estimate.late && estimate.micro_steps == 0 ? DraftDecision::kLatency
                                                                  : off_reason_;
  report_.expected_speedup = drafting_ ? drafting / plain : 1;
}

// As many drafts as would pay if each turned out to be a sure one: Review ends the others.
void DraftController::GrantDrafts() {
  constexpr int kSure = AcceptanceModel::kNumConfidences - 1;
  const double row_cost = prices_.Row(candidates_, sweep_, candidates_);
  const double least =
      price_ * std::max(row_cost, prices_.MicroStep(candidates_, 1) / candidates_.rows());
  std::array<int, kNumSamplerModes> granted = {};
  for (DraftRow* row : autos_) {
    if (row->gain == 0) continue;  // does not join in
    int& most = granted[static_cast<int>(row->mode)];
    if (most == 0) {
      double survival = 1;
      do {
        survival *= acceptance_.AfterDraft(row->mode, row->exit_layer, most, kSure);
        ++most;
      } while (most < config_.most_drafts &&
               survival * acceptance_.BeforeDraft(row->mode, row->exit_layer, most, kSure) > least);
    }
    row->num_drafts = std::min(most, Limit(*row));
  }
}

// While nobody drafts, no round tells what more rows cost, and a price that is too high would stay
// so. A round with a draft for each row tells; it is tried if what is not known about costs leaves
// hope that drafts pay.
void DraftController::ConsiderTrial() {
  if (--rounds_until_trial_ > 0) return;
  rounds_until_trial_ = kRoundsBeforeATrial;
  if (trial_budget_seconds_ <= 0 || candidates_.empty() || prices_.Prompts(sweep_) > 0) return;
  double gain = 0;
  for (const DraftRow* row : autos_) {
    if (Limit(*row) > 0) gain += Chance(*row, row->exit_layer, 0, AcceptanceModel::kAny);
  }
  drafts_.Clear();
  Work with, without;
  candidates_.AddMicroStep(1, prices_.head_share(), with);
  sweep_.AddSweep(candidates_, 1, with);
  sweep_.AddSweep(drafts_, 1, without);
  const double seconds = prices_.costs().Seconds(with);
  const double plain_seconds = prices_.costs().Seconds(without);
  const double tokens = static_cast<double>(autos_.size());
  const double speedup = (tokens + gain) / tokens * plain_seconds / seconds;
  const double hope = kHope * prices_.costs().RatioDeviation(with, without);
  if (speedup * (1 + hope) < kHysteresis || IsLate(prices_.MicroStep(candidates_, 1), sweep_, 1)) {
    return;
  }
  is_trial_ = true;
  for (DraftRow* row : autos_) row->num_drafts = std::min(1, Limit(*row));
  // Paid back before the next.
  trial_budget_seconds_ -= std::max(0.0, seconds - plain_seconds - gain / price_);
}

// ---- The round

void DraftController::Begin(const Schedule& schedule) {
  prices_.set_head_share(schedule.draft_head_share);
  sweep_ = SweepOf(schedule.rows, schedule.prefill_rows);
  sweep_.context_tokens += schedule.prefill_context_tokens;
  sweep_.logit_rows += schedule.prefill_logit_rows;
  has_prefill_ = schedule.prefill_rows > 0;
  prices_.NotePrompts(schedule.prefill_rows);
  draft_work_.Clear();
  drafted_.Clear();
  step_.Clear();
  scheduled_.assign(schedule.rows.begin(), schedule.rows.end());
  for (DraftRow* row : scheduled_) {
    row->survival = 1;
    if (row->num_drafts > 0) AddRow(*row, step_), AddRow(*row, drafted_);
  }
  if (!step_.empty()) step_.AddMicroStep(1, prices_.head_share(), draft_work_);
}

void DraftController::AddRow(const DraftRow& row, RowDepths& depths) {
  depths.Add(row.exit_layer, row.mode, 1, row.context_tokens);
}

void DraftController::Review(std::span<DraftRow* const> rows) {
  pinned_.Clear();
  step_.Clear();
  for (DraftRow* row : rows) {
    row->keep_drafting = true;
    AddRow(*row, step_);
    if (row->kind == DraftRow::Kind::kPinned) {
      AddRow(*row, pinned_);
      continue;
    }
    const int confidence = AcceptanceModel::ConfidenceClass(row->confidence);
    row->survival *= static_cast<float>(
        acceptance_.AfterDraft(row->mode, row->exit_layer, row->drafted - 1, confidence));
    row->gain =
        row->survival * static_cast<float>(Chance(*row, row->exit_layer, row->drafted, confidence));
  }
  if (step_.rows() > pinned_.rows() && !KeepWorthwhile(rows)) {
    for (DraftRow* row : rows) row->keep_drafting = row->kind == DraftRow::Kind::kPinned;
  }
  step_.Clear();
  for (const DraftRow* row : rows) {
    if (row->keep_drafting) AddRow(*row, step_), AddRow(*row, drafted_);
  }
  if (!step_.empty()) step_.AddMicroStep(1, prices_.head_share(), draft_work_);
}

// Ends the drafting of automatic rows whose own cost is more than their gain is worth. False if
// the rest together is not worth a micro-step.
bool DraftController::KeepWorthwhile(std::span<DraftRow* const> rows) {
  candidates_ = drafted_;
  for (const DraftRow* row : rows) AddRow(*row, candidates_);
  const double least = step_.rows() > 1 ? price_ * prices_.Row(step_, sweep_, candidates_) : 0.0;
  double gain = 0;
  step_.Clear();
  candidates_ = drafted_;
  drafts_ = drafted_;
  for (DraftRow* row : rows) {
    const bool pinned = row->kind == DraftRow::Kind::kPinned;
    if (pinned) AddRow(*row, drafts_);
    row->keep_drafting = pinned || row->gain > least;
    if (!row->keep_drafting) continue;
    AddRow(*row, step_);
    AddRow(*row, candidates_);
    if (!pinned) gain += row->gain;
  }
  const double micro_step = prices_.MicroStep(step_, 1);
  const double sweep = prices_.Sweep(sweep_, candidates_, 1);
  if (config_.latency_ceiling_seconds > 0 &&
      prices_.costs().Seconds(draft_work_) + micro_step + sweep > config_.latency_ceiling_seconds) {
    return false;
  }
  const double without =
      (pinned_.empty() ? 0 : prices_.MicroStep(pinned_, 1)) + prices_.Sweep(sweep_, drafts_, 1);
  return gain > price_ * (micro_step + sweep - without);
}

void DraftController::Verified(DraftRow& row, std::span<const float> confidences, int num_accepted,
                               bool finished) {
  int previous = AcceptanceModel::kAny;
  for (int i = 0; i < static_cast<int>(confidences.size()) && i <= num_accepted; ++i) {
    const bool accepted = i < num_accepted;
    if (!accepted && finished) return;
    const int confidence = AcceptanceModel::ConfidenceClass(confidences[i]);
    acceptance_.NoteOutcome(acceptance_.AfterDraft(row.mode, row.exit_layer, i, confidence),
                            accepted);
    Learn(row, row.exit_layer, i, previous, confidence, accepted);
    previous = confidence;
  }
}

void DraftController::Learn(DraftRow& row, int exit_layer, int index, int previous, int confidence,
                            double accepted) {
  acceptance_.Learn(row.mode, exit_layer, index, previous, confidence, accepted,
                    tenants_.factor(row.tenant), row.factor);
}

// ---- Probes

Work DraftController::WorkOfProbes() const {
  Work work;
  work.AddPass();
  work.AddHead(static_cast<double>(probes_.size()), prices_.head_share());
  for (const Probe& probe : probes_) work.AddChoices(probe.row->mode, 1);
  return work;
}

std::span<const DraftController::Probe> DraftController::ChooseProbes() {
  probes_.clear();
  if (probe_budget_seconds_ <= 0 || scheduled_.empty()) return probes_;
  const size_t begin = next_probed_;
  for (size_t i = 0; i < scheduled_.size(); ++i) {
    DraftRow* const row = scheduled_[(begin + i) % scheduled_.size()];
    if (row->kind != DraftRow::Kind::kAuto) continue;
    const std::vector<int>& exits =
        row->exit_layers.empty() ? config_.exit_layers : row->exit_layers;
    // Where it drafts, its first draft tells as much for nothing.
    const size_t before = probes_.size();
    for (const int exit : exits) {
      if (row->num_drafts == 0 || exit != row->exit_layer) probes_.push_back({row, exit});
    }
    // One row's may take more than is there, which is paid back before the next: else those that
    // never have enough would know nothing.
    if (static_cast<int>(probes_.size()) > config_.most_probes ||
        (before > 0 && prices_.costs().Seconds(WorkOfProbes()) > probe_budget_seconds_)) {
      probes_.resize(before);
      break;
    }
    next_probed_ = (begin + i + 1) % scheduled_.size();
  }
  return probes_;
}

void DraftController::Probed(const Probe& probe, std::optional<double> confidence,
                             double accepted) {
  Learn(*probe.row, probe.exit_layer, 0, AcceptanceModel::kAny,
        confidence ? AcceptanceModel::ConfidenceClass(*confidence) : AcceptanceModel::kAny,
        accepted);
}

void DraftController::End(const Outcome& outcome) {
  work_.Clear();
  sweep_.AddSweep(drafted_, 1, work_);
  report_.predicted_seconds = prices_.costs().Seconds(draft_work_) + prices_.costs().Seconds(work_);
  if (outcome.draft_timed) {
    prices_.costs().Observe(work_, outcome.sweep_seconds);
    if (!drafted_.empty()) prices_.costs().Observe(draft_work_, outcome.draft_seconds);
  } else {
    sweep_.AddSweep(drafted_, 1, draft_work_);
    prices_.costs().Observe(draft_work_, outcome.draft_seconds + outcome.sweep_seconds);
  }
  report_.step_time_error = prices_.costs().error();
  report_.calibration_error = acceptance_.calibration_error();
  const double seconds = outcome.draft_seconds + outcome.sweep_seconds;
  // Rounds in which nobody wants to know save nothing.
  if (!autos_.empty()) {
    SpendOnProbes(seconds, outcome.probe_seconds);
    SaveForTrials(seconds);
  }
  if (has_prefill_) return;
  const double rows = static_cast<double>(scheduled_.size());
  if (!drafted_.empty()) {
    drafts_.Clear();
    report_.plain_seconds = outcome.emitted_tokens * prices_.Sweep(sweep_, drafts_, 1) / rows;
  }
  // Nothing was promised of what other rows commit.
  if (autos_.empty() || autos_.size() != scheduled_.size() || is_trial_) return;
  PromiseLedger& ledger = drafting_ ? draft_ledger_ : plain_ledger_;
  ledger.Add(outcome.emitted_tokens / rows, promised_rate_ * seconds / rows);
  (drafting_ ? plain_ledger_ : draft_ledger_).Forget();
}

void DraftController::SpendOnProbes(double round_seconds, double probe_seconds) {
  const double most = std::max(probe_budget_seconds_, kMostSaved * round_seconds);
  probe_budget_seconds_ =
      std::min(probe_budget_seconds_ + config_.probe_share * round_seconds, most) - probe_seconds;
}

void DraftController::SaveForTrials(double round_seconds) {
  if (drafting_) {
    rounds_until_trial_ = kRoundsBeforeATrial;
  } else if (!is_trial_) {
    trial_budget_seconds_ = std::min(trial_budget_seconds_ + config_.trial_share * round_seconds,
                                     kMostSaved * round_seconds);
  }
}

void DraftController::Restore(const Experience& experience) {
  acceptance_ = experience.acceptance;
  tenants_ = experience.tenants;
  exit_layer_ = experience.exit_layer;
  exit_chosen_ = true;
}

}  // namespace strata
