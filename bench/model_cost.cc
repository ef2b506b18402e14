#include "bench/model_cost.h"

#include "engine/planning/roofline.h"

namespace strata::bench {
namespace {

Limit LimitOf(double num_tokens, double bytes, double ops, const MachineRates& rates) {
  const double read_seconds = bytes / (rates.read_gb_s * 1e9);
  const double dot_seconds = ops / (rates.dot_gop_s * 1e9);
  if (read_seconds >= dot_seconds) return {num_tokens / read_seconds, "read"};
  return {num_tokens / dot_seconds, "dot"};
}

}  // namespace

ModelCost::ModelCost(const ModelConfig& config, double bytes_per_param, double kv_bytes_per_token)
    : bytes_per_param_(bytes_per_param),
      kv_bytes_per_token_(kv_bytes_per_token),
      layer_params_(config.num_layers * LayerWeights(config)),
      head_params_(static_cast<double>(config.hidden_size) * config.vocab_size),
      // Queries with keys, probabilities with values; a multiply-add counts two.
      attention_ops_per_token_(4.0 * config.num_layers * config.num_heads * config.head_dim) {}

Limit ModelCost::Decode(int num_sequences, double context_tokens, const MachineRates& rates) const {
  const double bytes = weight_bytes() + num_sequences * context_tokens * kv_bytes_per_token_;
  const double ops = num_sequences * (2 * (layer_params_ + head_params_) +
                                      context_tokens * attention_ops_per_token_);
  return LimitOf(num_sequences, bytes, ops, rates);
}

Limit ModelCost::Prefill(int num_tokens, const MachineRates& rates) const {
  return LimitOf(num_tokens, weight_bytes(), 2 * (layer_params_ * num_tokens + head_params_),
                 rates);
}

}  // namespace strata::bench
