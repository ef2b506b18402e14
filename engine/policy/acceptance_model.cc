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

// Outcomes that a cell remembers, and that its prior counts for.
constexpr double kCellMemory = 256;
constexpr double kGuessWeight = 4;
constexpr double kParentWeight = 8;
constexpr double kLiftRate = 0.03;
constexpr double kTenthMemory = 256;

// Probabilities stay where their odds are finite.
double Inside(double p) { return std::clamp(p, 0.002, 0.998); }

// The chances of a draft at a relative depth in (0, 1), before anything is known.
double GuessByDepth(double depth) { return 0.92 - 0.35 * (1 - depth) * (1 - depth); }

}  // namespace

void OutcomeFactor::Add(double expected, double accepted, double weight, double memory) {
  const double keep = std::min(1.0, memory / (weight_ + weight));
  weight_ = static_cast<float>((weight_ + weight) * keep);
  expected_ = static_cast<float>((expected_ + weight * expected) * keep);
  accepted_ = static_cast<float>((accepted_ + weight * accepted) * keep);
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
  int index = 0;
  while (index < kNumConfidences - 1 && confidence >= kConfidenceEnds[index]) ++index;
  return index;
}

int AcceptanceModel::PositionClass(int index) { return index < 2 ? index : index < 4 ? 2 : 3; }

void AcceptanceModel::Cell::Add(double value, double value_weight, double memory) {
  const double keep = std::min(1.0, memory / (weight + value_weight));
  weight = static_cast<float>((weight + value_weight) * keep);
  accepted = static_cast<float>((accepted + value_weight * value) * keep);
}

AcceptanceModel::AcceptanceModel(int num_layers)
    : num_layers_(num_layers), exits_(static_cast<size_t>(kNumSamplerModes) * num_layers) {
  for (auto& mode : lifts_) {
    for (auto& position : mode) position.fill(1);
    // A sure draft is rather followed by another one that holds.
    for (int position = 1; position < kNumPositions; ++position) {
      for (int c = 0; c < kNumConfidences; ++c) {
        mode[position][c] = static_cast<float>(std::exp2(2.0 * c / (kNumConfidences - 1) - 1));
      }
    }
  }
}

double AcceptanceModel::BeforeDraft(Sampler::Mode mode, int exit_layer, int index,
                                    int previous) const {
  const Exit& exit = At(mode, exit_layer);
  const double first = Inside(exit.before[0][kAny].Mean(
      GuessByDepth(static_cast<double>(exit_layer) / num_layers_), kGuessWeight));
  const int position = PositionClass(index);
  if (position == 0) return first;
  const double lift = lifts_[static_cast<int>(mode)][position][previous];
  return Inside(exit.before[position][previous].Mean(WithOdds(first, lift), kParentWeight));
}

double AcceptanceModel::AfterDraft(Sampler::Mode mode, int exit_layer, int index,
                                   int confidence) const {
  const Exit& exit = At(mode, exit_layer);
  const double any_position =
      exit.after[kNumPositions][confidence].Mean(kConfidenceGuess[confidence], kGuessWeight);
  return Inside(exit.after[PositionClass(index)][confidence].Mean(any_position, kParentWeight));
}

void AcceptanceModel::Learn(Sampler::Mode mode, int exit_layer, int index, int previous,
                            int confidence, double accepted, double weight) {
  Exit& exit = exits_[static_cast<int>(mode) * num_layers_ + exit_layer];
  const int position = PositionClass(index);
  if (position > 0) {
    const double first = BeforeDraft(mode, exit_layer, 0, kAny);
    for (const int seen : {kAny, previous}) {
      float& lift = lifts_[static_cast<int>(mode)][position][seen];
      const double surprise = accepted - WithOdds(first, lift);
      lift = std::clamp(lift * static_cast<float>(1 + kLiftRate * weight * surprise), 0.05f, 20.0f);
      if (previous == kAny) break;
    }
  }
  exit.before[position][kAny].Add(accepted, weight, kCellMemory);
  if (previous != kAny) exit.before[position][previous].Add(accepted, weight, kCellMemory);
  if (confidence == kAny) return;
  exit.after[position][confidence].Add(accepted, weight, kCellMemory);
  exit.after[kNumPositions][confidence].Add(accepted, weight, kCellMemory);
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
