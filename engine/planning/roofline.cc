#include "engine/planning/roofline.h"

#include <algorithm>

namespace strata {
namespace {

using kernels::WeightFormat;

bool IsQuantized(WeightFormat weights) {
  return weights == WeightFormat::kInt8 || weights == WeightFormat::kInt4;
}

constexpr double kActivationBytes = 2;  // bf16 or f16: activations between ranks, keys and values

}  // namespace

double LayerWeights(const ModelConfig& config) {
  const double attention_rows = (config.num_heads + 2.0 * config.num_kv_heads) * config.head_dim;
  const double out = static_cast<double>(config.num_heads) * config.head_dim;
  return static_cast<double>(config.hidden_size) *
         (attention_rows + out + 3.0 * config.intermediate_size);
}

Roofline::Roofline(const ModelConfig& config, const Hardware& hardware, WeightFormat weights,
                   int tensor_parallel)
    : config_(config),
      hardware_(hardware),
      ranks_(tensor_parallel),
      bytes_per_param_(kernels::BytesPerWeight(weights)),
      flop_s_((IsQuantized(weights) ? hardware.int8_flop_s : hardware.flop_s) *
              hardware.flop_efficiency),
      layer_params_(LayerWeights(config)),
      kv_layer_bytes_(2.0 * config.num_kv_heads * config.head_dim * kActivationBytes) {}

double Roofline::Seconds(double bytes, double flops) const {
  const double read = bytes / (hardware_.read_bytes_s * hardware_.read_efficiency);
  return std::max(read, flops / flop_s_) / ranks_;
}

double Roofline::AllReduceSeconds(double bytes) const {
  if (ranks_ == 1) return 0;
  const double passes = 2.0 * (ranks_ - 1) / ranks_;
  return hardware_.all_reduce_latency_s + passes * bytes / hardware_.all_reduce_bytes_s;
}

double Roofline::LayerSeconds(const LayerWork& work) const {
  const double products =
      Seconds(layer_params_ * bytes_per_param_, 2 * layer_params_ * work.num_rows);
  // Queries with keys, probabilities with values.
  const double pair_flops = 4.0 * config_.num_heads * config_.head_dim;
  const double attention = Seconds(static_cast<double>(work.kv_tokens) * kv_layer_bytes_,
                                   static_cast<double>(work.attention_pairs) * pair_flops);
  const double device = products + attention + hardware_.layer_overhead_s;
  // After attention's output product, and after the feed-forward's.
  const double message =
      static_cast<double>(work.num_rows) * config_.hidden_size * kActivationBytes;
  return std::max(device, hardware_.layer_issue_s) + 2 * AllReduceSeconds(message);
}

double Roofline::HeadSeconds(int num_rows, int num_tokens) const {
  const double params = static_cast<double>(config_.hidden_size) * num_tokens;
  const double product = Seconds(params * bytes_per_param_, 2 * params * num_rows);
  // Ranks' logits are gathered in f32; an all-gather passes half as much as an all-reduce.
  const double logits = static_cast<double>(num_rows) * num_tokens * sizeof(float);
  return hardware_.forward_overhead_s + product + AllReduceSeconds(logits / 2) +
         num_rows * hardware_.sample_row_s;
}

double Roofline::DecodeSeconds(int64_t context_tokens, int num_sequences) const {
  const int64_t kv_tokens = num_sequences * context_tokens;
  return ForwardSeconds() +
         config_.num_layers * LayerSeconds({num_sequences, kv_tokens, kv_tokens}) +
         HeadSeconds(num_sequences, config_.vocab_size);
}

double Roofline::weight_bytes() const {
  const double head = static_cast<double>(config_.hidden_size) * config_.vocab_size;
  return (config_.num_layers * layer_params_ + head) * bytes_per_param_;
}

double Roofline::kv_bytes_per_token() const { return config_.num_layers * kv_layer_bytes_; }

int64_t Roofline::KvTokensThatFit() const {
  const double embedding =
      config_.tie_word_embeddings ? 0 : 2.0 * config_.hidden_size * config_.vocab_size;
  const double room = kUsableMemory * hardware_.memory_bytes * ranks_ - weight_bytes() - embedding;
  return static_cast<int64_t>(std::max(room, 0.0) / kv_bytes_per_token());
}

double TokensPerRound(double acceptance, int num_drafts) {
  double tokens = 1, power = 1;
  for (int i = 0; i < num_drafts; ++i) tokens += power *= acceptance;
  return tokens;
}

double PredictedSpeedup(const Roofline& roofline, int exit_layer, int num_drafts, double acceptance,
                        int context_tokens, bool reuses_early_layers) {
  const int layers = roofline.config().num_layers;
  const int vocabulary = roofline.config().vocab_size;
  const int64_t context = context_tokens;
  const auto layer = [&](int rows) {
    return roofline.LayerSeconds({rows, context, rows * context});
  };
  const double micro_step =
      roofline.ForwardSeconds() + exit_layer * layer(1) + roofline.HeadSeconds(1, vocabulary);
  const int rows = num_drafts + 1;
  const double sweep = roofline.ForwardSeconds() +
                       exit_layer * layer(reuses_early_layers ? 1 : rows) +
                       (layers - exit_layer) * layer(rows) + roofline.HeadSeconds(rows, vocabulary);
  return TokensPerRound(acceptance, num_drafts) * roofline.DecodeSeconds(context) /
         (num_drafts * micro_step + sweep);
}

}  // namespace strata
