#include "engine/policy/acceptance_model.h"

#include <algorithm>
#include <cmath>

namespace strata {
namespace {

// Upper ends of the classes of confidence; the last one ends at 1.
constexpr std::array<double, AcceptanceModel::kNumConfidences - 1> kConfidenceEnds = {
    0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95};
// What a confidence of each class is taken for before anything is counted.
constexpr std::array<double, AcceptanceModel::kNumConfidences> kConfidenceGuess = {
    0.1, 0.2, 0.35, 0.5, 0.6, 0.75, 0.88, 0.95};

// Outcomes that the guess about a cell counts for, and what more general cells say of it.
constexpr double kGuessWeight = 4;
constexpr double kParentWeight = 8;
// What an outcome of any exit adds to what is not known of one that has not been seen since.
constexpr double kUnseenDrift = 1e-4;
constexpr double kTenthMemory = 256;

// Probabilities stay where their odds are finite.
double Inside(double p) { return std::clamp(p, 0.002, 0.998); }

// The chances of a draft at a relative depth in (0, 1), before anything is known.
double GuessByDepth(double depth) { return 0.92 - 0.35 * (1 - depth) * (1 - depth); }

double Mean(const AcceptanceModel::Cell& cell, double prior, double prior_weight) {
  return (cell.accepted + prior * prior_weight) / (cell.weight + prior_weight);
}

void Add(double accepted, AcceptanceModel::Cell& cell) {
  const float keep = std::min(1.0f, AcceptanceModel::kMemory / (cell.weight + 1));
  cell.weight = (cell.weight + 1) * keep;
  cell.accepted = (cell.accepted + static_cast<float>(accepted)) * keep;
}

}  // namespace

int AcceptanceModel::ConfidenceClass(double confidence) {
  if (confidence == 0) return kAny;
  int index = 0;
  while (index < kNumConfidences - 1 && confidence >= kConfidenceEnds[index]) ++index;
  return index;
}

int AcceptanceModel::PositionClass(int index) { return index < 2 ? index : index < 4 ? 2 : 3; }

AcceptanceModel::AcceptanceModel(int num_layers)
    : num_layers_(num_layers),
      exits_(static_cast<size_t>(kNumSamplerModes) * num_layers),
      last_outcomes_(exits_.size()) {
  for (size_t i = 0; i < exits_.size(); ++i) {
    const double guess = GuessByDepth(static_cast<double>(i % num_layers) / num_layers);
    exits_[i].first = {static_cast<float>(guess / (1 - guess)), kExitPrior.variance};
    exits_[i].lifts.fill({1, kExitLiftPrior.variance});
  }
  for (Lifts& lifts : lifts_) {
    lifts.fill({1, kLiftPrior.variance});
    // A sure draft is rather followed by another one that holds.
    for (int position = 1; position < kNumPositions; ++position) {
      for (int c = 0; c < kNumConfidences; ++c) {
        lifts[Before(position, c)].odds =
            static_cast<float>(std::exp2(2.0 * c / (kNumConfidences - 1) - 1));
      }
    }
  }
}

double AcceptanceModel::BeforeDraft(Sampler::Mode mode, int exit_layer, int index,
                                    int previous) const {
  const Exit& learnt = exit(mode, exit_layer);
  double odds = learnt.first.odds;
  const int position = PositionClass(index);
  if (position > 0) {
    const int cell = Before(position, previous);
    odds *= static_cast<double>(lifts(mode)[cell].odds) * learnt.lifts[cell].odds;
  }
  return Inside(odds / (1 + odds));
}

double AcceptanceModel::AfterDraft(Sampler::Mode mode, int exit_layer, int index,
                                   int confidence) const {
  if (confidence == kAny) return BeforeDraft(mode, exit_layer, index, kAny);
  const auto& cells = exit(mode, exit_layer).by_confidence;
  const double any_position =
      Mean(cells[After(kNumPositions, confidence)], kConfidenceGuess[confidence], kGuessWeight);
  return Inside(Mean(cells[After(PositionClass(index), confidence)], any_position, kParentWeight));
}

void AcceptanceModel::Learn(Sampler::Mode mode, int exit_layer, int index, int previous,
                            int confidence, double accepted, OddsFactor& tenant,
                            OddsFactor& request) {
  Exit& learnt = exit(mode, exit_layer);
  const int position = PositionClass(index);
  const OddsPart of_tenant = {&tenant, &kTenantPrior}, of_request = {&request, &kRequestPrior};
  const double odds = static_cast<double>(tenant.odds) * request.odds;
  const auto chance = [&](int before) {
    return Inside(WithOdds(BeforeDraft(mode, exit_layer, index, before), odds));
  };
  if (position == 0) {
    NoteUnseen(mode, exit_layer);
    LearnOutcome(chance(kAny), accepted, {{&learnt.first, &kExitPrior}, of_tenant, of_request});
  } else {
    const auto lift = [&](int cell) { return OddsPart{&lifts(mode)[cell], &kLiftPrior}; };
    const auto exit_lift = [&](int cell) { return OddsPart{&learnt.lifts[cell], &kExitLiftPrior}; };
    if (previous != kAny) {
      const int any = Before(position, kAny);
      LearnOutcome(chance(kAny), accepted, {lift(any), exit_lift(any)});
    }
    const int cell = Before(position, previous);
    LearnOutcome(chance(previous), accepted, {lift(cell), exit_lift(cell), of_tenant, of_request});
  }
  if (confidence == kAny) return;
  Add(accepted, learnt.by_confidence[After(position, confidence)]);
  Add(accepted, learnt.by_confidence[After(kNumPositions, confidence)]);
}

// While others were drafted at, this exit's chances may have changed.
void AcceptanceModel::NoteUnseen(Sampler::Mode mode, int exit_layer) {
  int64_t& num_outcomes = num_outcomes_[static_cast<int>(mode)];
  int64_t& last = last_outcomes_[static_cast<int>(mode) * num_layers_ + exit_layer];
  OddsFactor& first = exit(mode, exit_layer).first;
  first.variance = std::min(
      kExitPrior.variance,
      first.variance + static_cast<float>(kUnseenDrift * static_cast<double>(num_outcomes - last)));
  last = ++num_outcomes;
}

void AcceptanceModel::NoteOutcome(double predicted, double accepted) {
  Tenth& tenth = tenths_[std::clamp(static_cast<int>(predicted * 10), 0, 9)];
  const double keep = std::min(1.0, kTenthMemory / (tenth.weight + 1));
  tenth.weight = static_cast<float>((tenth.weight + 1) * keep);
  tenth.predicted = static_cast<float>((tenth.predicted + predicted) * keep);
  tenth.accepted = static_cast<float>((tenth.accepted + accepted) * keep);
}

double AcceptanceModel::calibration_error() const {
  double weight = 0, distance = 0;
  for (const Tenth& tenth : tenths_) {
    weight += tenth.weight;
    distance += std::fabs(tenth.predicted - tenth.accepted);
  }
  return weight > 0 ? distance / weight : 0;
}

}  // namespace strata
