// How likely drafts are accepted: learnt for the whole traffic by exit layer, position and
// confidence, with a factor for each request and tenant.

#ifndef STRATA_ENGINE_POLICY_ACCEPTANCE_MODEL_H_
#define STRATA_ENGINE_POLICY_ACCEPTANCE_MODEL_H_

#include <array>
#include <cstdint>
#include <vector>

#include "engine/policy/cost_model.h"
#include "engine/policy/odds_factor.h"
#include "engine/sampler.h"

namespace strata {

// Of what a request's drafts, and a tenant's, differ by from the traffic's.
inline constexpr OddsPrior kRequestPrior = {.variance = 0.1f, .drift = 5e-4f};
inline constexpr OddsPrior kTenantPrior = {.variance = 0.5f, .drift = 1e-4f};

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

  // The probability that the draft at `index` will be accepted, if those before it are, in the
  // whole traffic.
  // Before it is drafted: `previous` is the confidence class of the draft before it, or kAny.
  double BeforeDraft(Sampler::Mode mode, int exit_layer, int index, int previous) const;
  // Once it is drafted, and its confidence is of this class; with kAny the same as before.
  double AfterDraft(Sampler::Mode mode, int exit_layer, int index, int confidence) const;

  // A draft of this tenant and request, whose predecessors were accepted, was accepted itself (1),
  // or not (0), or would have been with some probability. Its confidence may be kAny.
  void Learn(Sampler::Mode mode, int exit_layer, int index, int previous, int confidence,
             double accepted, OddsFactor& tenant, OddsFactor& request);

  // Mean distance of predicted from observed acceptance, by predicted tenths, of late drafts.
  double calibration_error() const;
  void NoteOutcome(double predicted, double accepted);

  // ---- What is learnt, to be saved and restored
  struct Cell {
    float weight = 0;    // of outcomes, the older the less; at most kMemory
    float accepted = 0;  // in [0, weight]

    friend bool operator==(const Cell&, const Cell&) = default;
  };
  static constexpr float kMemory = 256;
  static constexpr int kNumBefore = kNumPositions * (kNumConfidences + 1);
  static constexpr int kNumAfter = (kNumPositions + 1) * kNumConfidences;
  static constexpr OddsPrior kExitPrior = {.variance = 1.2f, .drift = 1e-5f};
  static constexpr OddsPrior kLiftPrior = {.variance = 0.5f, .drift = 3e-5f};
  static constexpr OddsPrior kExitLiftPrior = {.variance = 0.3f, .drift = 3e-5f};

  // The odds of later drafts over the first one's: [position][confidence of the draft before, or
  // kAny].
  using Lifts = std::array<OddsFactor, kNumBefore>;
  struct Exit {
    OddsFactor first;  // draft's odds
    Lifts lifts;       // beyond those over all exits
    // Outcomes: [position, or kNumPositions for all][own confidence].
    std::array<Cell, kNumAfter> by_confidence;

    friend bool operator==(const Exit&, const Exit&) = default;
  };

  int num_layers() const { return num_layers_; }
  const Exit& exit(Sampler::Mode mode, int exit_layer) const {
    return exits_[static_cast<int>(mode) * num_layers_ + exit_layer];
  }
  Exit& exit(Sampler::Mode mode, int exit_layer) {
    return exits_[static_cast<int>(mode) * num_layers_ + exit_layer];
  }
  // Over all exits.
  const Lifts& lifts(Sampler::Mode mode) const { return lifts_[static_cast<int>(mode)]; }
  Lifts& lifts(Sampler::Mode mode) { return lifts_[static_cast<int>(mode)]; }

 private:
  static constexpr int Before(int position, int previous) {
    return position * (kNumConfidences + 1) + previous;
  }
  static constexpr int After(int position, int confidence) {
    return position * kNumConfidences + confidence;
  }

  void NoteUnseen(Sampler::Mode mode, int exit_layer);

  int num_layers_;
  std::vector<Exit> exits_;  // [mode, exit layer]
  std::array<Lifts, kNumSamplerModes> lifts_;
  // Of first drafts, by mode; and at the last of each exit, as exits_.
  std::array<int64_t, kNumSamplerModes> num_outcomes_{};
  std::vector<int64_t> last_outcomes_;
  struct Tenth {
    float weight = 0, predicted = 0, accepted = 0;
  };
  std::array<Tenth, 10> tenths_{};
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_ACCEPTANCE_MODEL_H_
