#include "engine/exit_probes.h"

#include <algorithm>

namespace strata {
namespace {

// Distributions that find no room in this are not probed.
constexpr int64_t kProposalBytes = int64_t{8} << 20;

int64_t NextPosition(const Sequence& sequence) {
  return static_cast<int64_t>(sequence.tokens().size());
}

// The sum of min(p, q): how likely a draft from q is accepted for p.
double Overlap(const Distribution& p, const Distribution& q) {
  double sum = 0;
  for (size_t i = 0; i < q.size(); ++i) {
    if (q.weights[i] > 0) sum += std::min(p.Probability(q.IdAt(i)), q.weights[i] / q.total);
  }
  return sum;
}

}  // namespace

ExitProbes::ExitProbes(Model* model, BlockPool* exit_rows, const Clock* clock)
    : model_(model), exit_rows_(exit_rows), clock_(clock), proposals_(kProposalBytes) {}

void ExitProbes::Begin(std::span<const WantedProbe> wanted) {
  time_ = {};
  probes_.clear();
  proposals_.Clear();
  for (const WantedProbe& probe : wanted) {
    if (exit_rows_->num_free() == 0 || num_probes() == model_->limits().max_logit_rows) return;
    Probe& made = probes_.emplace_back();
    made.sequence = probe.sequence;
    made.exit_layer = probe.exit_layer;
    made.exit_cache_row = exit_rows_->Allocate();
  }
}

bool ExitProbes::Probes(const Sequence& sequence) const {
  return std::any_of(probes_.begin(), probes_.end(),
                     [&](const Probe& probe) { return probe.sequence == &sequence; });
}

void ExitProbes::Tap(const Sequence& sequence, int row, LayerRange layers,
                     std::vector<HiddenTap>* taps) const {
  for (const Probe& probe : probes_) {
    if (probe.sequence != &sequence) continue;
    if (layers.begin < probe.exit_layer && probe.exit_layer <= layers.end) {
      taps->push_back({row, probe.exit_layer, probe.exit_cache_row});
    }
  }
}

void ExitProbes::Propose(const Head& head) {
  if (probes_.empty()) return;
  const Instant start = clock_->Now();
  rows_.clear();
  for (const Probe& probe : probes_) rows_.push_back(probe.exit_cache_row);
  const float* values = model_->ExitLogits(rows_, head);
  const size_t width = head.num_tokens;
  for (Probe& probe : probes_) {
    Propose(probe, Logits({values, width}, head.token_ids));
    values += width;
  }
  time_ += clock_->Now() - start;
}

void ExitProbes::Propose(Probe& probe, const Logits& logits) {
  if (!logits.scan.finite) return;
  const Sampler& sampler = probe.sequence->sampler();
  if (sampler.mode() == Sampler::Mode::kUnseeded) {
    const std::optional<Distribution> kept =
        proposals_.Keep(sampler.Warp(logits, scratch_), logits.ids);
    if (!kept) return;
    probe.distribution = *kept;
  } else {
    probe.token = sampler.Choose(logits, NextPosition(*probe.sequence), scratch_);
    probe.confidence = ProbabilityOf(probe.token, logits);
  }
  probe.proposed = true;
}

void ExitProbes::Compare(const Sequence& sequence, const Logits& target) {
  const auto is_probed = [&](const Probe& probe) {
    return probe.sequence == &sequence && probe.proposed;
  };
  if (std::none_of(probes_.begin(), probes_.end(), is_probed)) return;
  const Instant start = clock_->Now();
  const Sampler& sampler = sequence.sampler();
  const bool unseeded = sampler.mode() == Sampler::Mode::kUnseeded;
  Distribution distribution;
  TokenId token = 0;
  if (unseeded) {
    distribution = sampler.Warp(target, scratch_);
  } else {
    token = sampler.Choose(target, NextPosition(sequence), scratch_);
  }
  for (Probe& probe : probes_) {
    if (!is_probed(probe)) continue;
    probe.acceptance = unseeded ? static_cast<float>(Overlap(distribution, probe.distribution))
                                : static_cast<float>(probe.token == token);
    probe.compared = true;
  }
  time_ += clock_->Now() - start;
}

void ExitProbes::End(DraftingPolicy* policy) {
  for (const Probe& probe : probes_) {
    exit_rows_->Free(probe.exit_cache_row);
    if (!probe.compared) continue;
    ProbeOutcome outcome{probe.sequence, probe.exit_layer, std::nullopt, probe.acceptance};
    if (probe.sequence->sampler().mode() != Sampler::Mode::kUnseeded) {
      outcome.confidence = probe.confidence;
    }
    policy->OnProbed(outcome);
  }
}

}  // namespace strata
