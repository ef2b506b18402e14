// What a model's tokens cost by arithmetic alone, and so how fast they can be at best.

#ifndef STRATA_BENCH_MODEL_COST_H_
#define STRATA_BENCH_MODEL_COST_H_

#include "engine/checkpoint/model_config.h"

namespace strata::bench {

// What the machine did right beside a measurement.
struct MachineRates {
  double read_gb_s = 0;  // 1e9 bytes
  double dot_gop_s = 0;  // of the type that the weights' products are computed in
};

struct Limit {
  double tokens_per_second = 0;
  const char* bound = "";  // what binds: "read" or "dot"
};

class ModelCost {
 public:
  // `kv_bytes_per_token`: of all layers.
  ModelCost(const ModelConfig& config, double bytes_per_param, double kv_bytes_per_token);

  // All sequences together. Each step reads all weights once, and each sequence's `context_tokens`
  // of keys and values; 0 leaves attention out.
  Limit Decode(int num_sequences, double context_tokens, const MachineRates& rates) const;

  // The products with weights, attention left out; only the last row passes the head.
  Limit Prefill(int num_tokens, const MachineRates& rates) const;

  // Of the matrices that are multiplied with.
  double weight_bytes() const { return (layer_params_ + head_params_) * bytes_per_param_; }

 private:
  const double bytes_per_param_;
  const double kv_bytes_per_token_;
  const double layer_params_;  // of all layers' matrices
  const double head_params_;
  const double attention_ops_per_token_;  // of context, in all layers
};

}  // namespace strata::bench

#endif  // STRATA_BENCH_MODEL_COST_H_
