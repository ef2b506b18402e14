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
constexpr double kLiftRate = 0.03;
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

void OutcomeFactor::Add(double expected, double accepted, double memory) {
  const double keep = std::min(1.0, memory / (weight_ + 1));
  weight_ = static_cast<float>((weight_ + 1) * keep);
  expected_ = static_cast<float>((expected_ + expected) * keep);
  accepted_ = static_cast<float>((accepted_ + accepted) * keep);
}

double OutcomeFactor::odds(double prior_weight) const {
  if (weight_ == 0) return 1;
  // The prior is outcomes as they were expected.
  const double mean = expected_ / weight_;
  const double accepted = Inside((accepted_ + prior_weight * mean) / (weight_ + prior_weight));
  const double expected = Inside(mean);
  return accepted / (1 - accepted) * (1 - expected) / expected;
}

int AcceptanceModel::ConfidenceClass(double confidence) {
  if (confidence == 0) return kAny;
  int index = 0;
  while (index < kNumConfidences - 1 && confidence >= kConfidenceEnds[index]) ++index;
  return index;
}

int AcceptanceModel::PositionClass(int index) { return index < 2 ? index : index < 4 ? 2 : 3; }

AcceptanceModel::AcceptanceModel(int num_layers)
    : num_layers_(num_layers), exits_(static_cast<size_t>(kNumSamplerModes) * num_layers) {
  for (Lifts& lifts : lifts_) {
    lifts.fill(1);
    // A sure draft is rather followed by another one that holds.
    for (int position = 1; position < kNumPositions; ++position) {
      for (int c = 0; c < kNumConfidences; ++c) {
        lifts[Before(position, c)] =
            static_cast<float>(std::exp2(2.0 * c / (kNumConfidences - 1) - 1));
      }
    }
  }
}

double AcceptanceModel::BeforeDraft(Sampler::Mode mode, int exit_layer, int index,
                                    int previous) const {
  const Exit& cells = exit(mode, exit_layer);
  const double guess = GuessByDepth(static_cast<double>(exit_layer) / num_layers_);
  const double first = Inside(Mean(cells[Before(0, kAny)], guess, kGuessWeight));
  const int position = PositionClass(index);
  if (position == 0) return first;
  const int cell = Before(position, previous);
  return Inside(Mean(cells[cell], WithOdds(first, lifts(mode)[cell]), kParentWeight));
}

double AcceptanceModel::AfterDraft(Sampler::Mode mode, int exit_layer, int index,
                                   int confidence) const {
  if (confidence == kAny) return BeforeDraft(mode, exit_layer, index, kAny);
  const Exit& cells = exit(mode, exit_layer);
  const double any_position =
      Mean(cells[After(kNumPositions, confidence)], kConfidenceGuess[confidence], kGuessWeight);
  return Inside(Mean(cells[After(PositionClass(index), confidence)], any_position, kParentWeight));
}

void AcceptanceModel::Learn(Sampler::Mode mode, int exit_layer, int index, int previous,
                            int confidence, double accepted) {
  Exit& cells = exit(mode, exit_layer);
  const int position = PositionClass(index);
  const double first = BeforeDraft(mode, exit_layer, 0, kAny);
  const auto learn_before = [&](int cell) {
    Add(accepted, cells[cell]);
    if (position == 0) return;
    float& lift = lifts(mode)[cell];
    const double surprise = accepted - WithOdds(first, lift);
    lift = std::clamp(lift * static_cast<float>(1 + kLiftRate * surprise), 1 / kMaxLift, kMaxLift);
  };
  learn_before(Before(position, kAny));
  if (previous != kAny) learn_before(Before(position, previous));
  if (confidence == kAny) return;
  Add(accepted, cells[After(position, confidence)]);
  Add(accepted, cells[After(kNumPositions, confidence)]);
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
