// The buffers that a model computes in.

#ifndef STRATA_ENGINE_MODEL_ACTIVATIONS_H_
#define STRATA_ENGINE_MODEL_ACTIVATIONS_H_

#include <algorithm>
#include <cstddef>

#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/model_shard.h"
#include "engine/model/model.h"
#include "kernels/chooser.h"
#include "kernels/tensor.h"

namespace strata {

// Bytes of each; shapes are of a rank's heads, inner features and tokens.
struct ActivationSizes {
  size_t hidden = 0;      // f32 [max_rows, hidden]: the residual stream
  size_t exit_cache = 0;  // f32 [max_exit_rows, hidden]
  size_t normed = 0;      // operand [max_rows or max_logit_rows, hidden]
  size_t qkv = 0;         // f32 [max_rows, (heads + 2 kv_heads) * head_dim]
  size_t attended = 0;    // operand [max_rows, heads * head_dim]
  size_t activated = 0;   // operand [max_rows, intermediate]
  size_t head_input = 0;  // f32 [max_logit_rows, hidden]
  size_t logits = 0;      // f32 [max_logit_rows, vocab]; gathered: [ranks, max_logit_rows, widest]
  size_t rope = 0;        // f32 [max_context, head_dim / 2], twice

  // All but the exit cache.
  size_t workspace() const {
    return hidden + normed + qkv + attended + activated + head_input + logits + 2 * rope;
  }
};

// gathers_logits: those of all ranks, whose devices choose tokens.
inline ActivationSizes ActivationSizesOf(const ModelConfig& config, const ModelShard& shard,
                                         const ModelLimits& limits, kernels::DType operand_dtype,
                                         bool gathers_logits) {
  const size_t operand = kernels::SizeOf(operand_dtype);
  const size_t rows = limits.max_rows;
  const size_t logit_rows = limits.max_logit_rows;
  const size_t hidden = config.hidden_size;
  const size_t heads_dim = shard.heads.size() * config.head_dim;
  const size_t kv_dim = shard.kv_heads.size() * config.head_dim;
  ActivationSizes sizes;
  sizes.hidden = rows * hidden * sizeof(float);
  sizes.exit_cache = limits.max_exit_rows * hidden * sizeof(float);
  sizes.normed = std::max(rows, logit_rows) * hidden * operand;
  sizes.qkv = rows * (heads_dim + 2 * kv_dim) * sizeof(float);
  sizes.attended = rows * heads_dim * operand;
  sizes.activated = rows * shard.inner.size() * operand;
  sizes.head_input = logit_rows * hidden * sizeof(float);
  const size_t widest = (config.vocab_size + shard.size - 1) / shard.size;
  const size_t tokens = gathers_logits ? shard.size * widest : shard.tokens.size();
  sizes.logits = logit_rows * tokens * sizeof(float);
  sizes.rope = static_cast<size_t>(limits.max_context) * (config.head_dim / 2) * sizeof(float);
  return sizes;
}

// Of a device that chooses a rank's tokens: among all tokens, by logits of all ranks.
inline kernels::ChooserLimits ChooserLimitsOf(const ModelConfig& config, const ModelShard& shard,
                                              const ModelLimits& limits) {
  return {config.vocab_size, limits.max_logit_rows, limits.max_exit_rows, limits.proposal_bytes,
          shard.size};
}

}  // namespace strata

#endif  // STRATA_ENGINE_MODEL_ACTIVATIONS_H_
