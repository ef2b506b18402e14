// How long a model's layers and head take on some hardware: for each, the
// larger of what its bytes and its arithmetic need, and overheads.

#ifndef STRATA_ENGINE_PLANNING_ROOFLINE_H_
#define STRATA_ENGINE_PLANNING_ROOFLINE_H_

#include <cstdint>

#include "engine/checkpoint/model_config.h"
#include "engine/planning/hardware.h"
#include "kernels/weight_format.h"

namespace strata {

// What one layer computes.
struct LayerWork {
  int num_rows = 0;
  // Positions of keys and values that attention reads, each once per sequence.
  int64_t kv_tokens = 0;
  // Pairs of a query and a key, over all rows.
  int64_t attention_pairs = 0;
};

// The part of a device's memory to plan with: the rest is for contexts, libraries and fragments.
inline constexpr double kUsableMemory = 0.9;

// Weights of one layer's matrices.
double LayerWeights(const ModelConfig& config);

// Immutable. Weights and heads are split over all ranks.
class Roofline {
 public:
  // REQUIRES: 1 <= tensor_parallel <= hardware.num_devices.
  Roofline(const ModelConfig& config, const Hardware& hardware, kernels::WeightFormat weights,
           int tensor_parallel);

  double LayerSeconds(const LayerWork& work) const;
  // The head and sampling of `num_rows` rows, among `num_tokens` of the vocabulary.
  double HeadSeconds(int num_rows, int num_tokens) const;
  // One pass through some layers, besides the layers.
  double ForwardSeconds() const { return hardware_.forward_overhead_s; }

  // Plain decoding of a token for each of some sequences, behind `context_tokens` each.
  double DecodeSeconds(int64_t context_tokens, int num_sequences = 1) const;

  double weight_bytes() const;        // of all layers and the head, over all ranks
  double kv_bytes_per_token() const;  // of all layers, over all ranks
  // Tokens of KV that fit beside the weights, the rest of kUsableMemory left for everything else.
  int64_t KvTokensThatFit() const;

  const ModelConfig& config() const { return config_; }
  const Hardware& hardware() const { return hardware_; }

 private:
  // Of one rank's share, by bandwidth or arithmetic.
  double Seconds(double bytes, double flops) const;
  double AllReduceSeconds(double bytes) const;

  const ModelConfig config_;
  const Hardware hardware_;
  const int ranks_;
  const double bytes_per_param_;
  const double flop_s_;          // reached
  const double layer_params_;    // of one layer's matrices
  const double kv_layer_bytes_;  // of one position in one layer
};

// Tokens that a round commits on average if each of `num_drafts` is accepted with `acceptance`,
// independently: 1 + a + ... + a^K.
double TokensPerRound(double acceptance, int num_drafts);

// Speed over plain decoding of one sequence behind `context_tokens`.
// `reuses_early_layers`: as Strata, verification starts at the exit for all but the newest draft;
// else it runs all layers of all rows again.
double PredictedSpeedup(const Roofline& roofline, int exit_layer, int num_drafts, double acceptance,
                        int context_tokens, bool reuses_early_layers);
}  // namespace strata

#endif  // STRATA_ENGINE_PLANNING_ROOFLINE_H_
