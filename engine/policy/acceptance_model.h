// How likely drafts are accepted: counted for the whole traffic by exit layer, position and
// confidence, with a factor for each request and tenant.

#ifndef STRATA_ENGINE_POLICY_ACCEPTANCE_MODEL_H_
#define STRATA_ENGINE_POLICY_ACCEPTANCE_MODEL_H_

#include <array>
#include <vector>

#include "engine/policy/cost_model.h"
#include "engine/sampler.h"

namespace strata {

// p with its odds multiplied.
inline double WithOdds(double p, double odds) { return p * odds / (1 - p + p * odds); }

// How much better or worse than expected the drafts of someone fare, as a factor of their odds.
// Shrunk towards 1: it takes `prior_weight` outcomes to believe half of a deviation.
class OutcomeFactor {
 public:
  OutcomeFactor() = default;
  OutcomeFactor(float weight, float expected, float accepted)
      : weight_(weight), expected_(expected), accepted_(accepted) {}

  void Add(double expected, double accepted, double memory);
  double odds(double prior_weight) const;
  float weight() const { return weight_; }
  float expected() const { return expected_; }
  float accepted() const { return accepted_; }

 private:
  float weight_ = 0;    // of outcomes, the older the less
  float expected_ = 0;  // sums of weighted probabilities
  float accepted_ = 0;
};

// Not thread-safe. No allocation after construction.
class AcceptanceModel {
 public:
  static constexpr int kNumConfidences = 8;
  static constexpr int kAny = kNumConfidences;  // in place of a confidence that is not known
  static constexpr int kNumPositions = 4;       // drafts 0, 1, 2 and 3, 4 and later

  // Classes of confidence, a probability in (0, 1], kAny for 0; and of a draft's index in its
  // round.
  static int ConfidenceClass(double confidence);
  static int PositionClass(int index);

  // Before anything is counted, a draft's chances are guessed from its exit's depth.
  explicit AcceptanceModel(int num_layers);

  // The probability that the draft at `index` will be accepted, if those before it are.
  // Before it is drafted: `previous` is the confidence class of the draft before it, or kAny.
  double BeforeDraft(Sampler::Mode mode, int exit_layer, int index, int previous) const;
  // Once it is drafted, and its confidence is of this class; with kAny the same as before.
  double AfterDraft(Sampler::Mode mode, int exit_layer, int index, int confidence) const;

  // A draft whose predecessors were accepted was accepted itself (1), or not (0), or would have
  // been with some probability. Its confidence may be kAny.
  void Learn(Sampler::Mode mode, int exit_layer, int index, int previous, int confidence,
             double accepted);

  // Mean distance of predicted from observed acceptance, by predicted tenths, of late drafts.
  double calibration_error() const;
  void NoteOutcome(double predicted, double accepted);

  // ---- What is counted, to be saved and restored
  struct Cell {
    float weight = 0;    // of outcomes, the older the less; at most kMemory
    float accepted = 0;  // in [0, weight]
  };
  static constexpr float kMemory = 256;
  static constexpr float kMaxLift = 20;
  static constexpr int kNumBefore = kNumPositions * (kNumConfidences + 1);
  static constexpr int kNumAfter = (kNumPositions + 1) * kNumConfidences;
  using Exit = std::array<Cell, kNumBefore + kNumAfter>;
  using Lifts = std::array<float, kNumBefore>;

  int num_layers() const { return num_layers_; }
  // The outcomes at an exit: [position][confidence of the draft before, or kAny], then
  // [position, or kNumPositions for all][own confidence].
  const Exit& exit(Sampler::Mode mode, int exit_layer) const {
    return exits_[static_cast<int>(mode) * num_layers_ + exit_layer];
  }
  Exit& exit(Sampler::Mode mode, int exit_layer) {
    return exits_[static_cast<int>(mode) * num_layers_ + exit_layer];
  }
  // By how much the odds of later drafts differ from the first one's, over all exits, in
  // [1 / kMaxLift, kMaxLift]: [position][confidence of the draft before, or kAny].
  const Lifts& lifts(Sampler::Mode mode) const { return lifts_[static_cast<int>(mode)]; }
  Lifts& lifts(Sampler::Mode mode) { return lifts_[static_cast<int>(mode)]; }

 private:
  static constexpr int Before(int position, int previous) {
    return position * (kNumConfidences + 1) + previous;
  }
  static constexpr int After(int position, int confidence) {
    return kNumBefore + position * kNumConfidences + confidence;
  }

  int num_layers_;
  std::vector<Exit> exits_;  // [mode, exit layer]
  std::array<Lifts, kNumSamplerModes> lifts_;
  struct Tenth {
    float weight = 0, predicted = 0, accepted = 0;
  };
  std::array<Tenth, 10> tenths_{};
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_ACCEPTANCE_MODEL_H_
