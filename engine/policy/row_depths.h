// Drafting rows by the layer at which they exit, and what they cost.

#ifndef STRATA_ENGINE_POLICY_ROW_DEPTHS_H_
#define STRATA_ENGINE_POLICY_ROW_DEPTHS_H_

#include <array>
#include <vector>

#include "engine/policy/cost_model.h"
#include "engine/sampler.h"

namespace strata {

// Numbers of rows are real: expected ones.
class RowDepths {
 public:
  void Clear();
  void Add(int exit_layer, Sampler::Mode mode, double rows, double context_tokens);
  double rows() const { return rows_; }
  bool empty() const { return rows_ == 0; }

  // A micro-step of `scale` times these rows: each runs the layers before its exit, then the head
  // of that share of the vocabulary, and is given its token.
  void AddMicroStep(double scale, double head_share, Work& work) const;

 private:
  friend struct SweepRows;
  struct Group {
    int exit_layer;
    double rows;
    double context_tokens;
  };
  std::vector<Group> groups_;  // by ascending exit
  double rows_ = 0;
  double context_tokens_ = 0;
  std::array<double, kNumSamplerModes> rows_by_mode_{};
};

// The rows of a full sweep: those that run every layer, and drafts that enter at their exit.
struct SweepRows {
  int num_layers = 0;
  double rows = 0;                                    // of every layer
  double context_tokens = 0;                          // theirs
  double logit_rows = 0;                              // of those, with logits
  std::array<double, kNumSamplerModes> choices = {};  // of those, with a token to choose

  // With `scale` times `drafts` besides.
  void AddSweep(const RowDepths& drafts, double scale, Work& work) const;
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_ROW_DEPTHS_H_
