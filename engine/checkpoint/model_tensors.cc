#include "engine/checkpoint/model_tensors.h"

#include "fmt/format.h"

namespace strata {

std::vector<TensorSpec> ModelTensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  const int64_t vocab = config.vocab_size;
  const int64_t q_dim = static_cast<int64_t>(config.num_heads) * config.head_dim;
  const int64_t kv_dim = static_cast<int64_t>(config.num_kv_heads) * config.head_dim;

  std::vector<TensorSpec> tensors;
  tensors.push_back({"model.embed_tokens.weight", {vocab, hidden}});
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const auto add = [&](const char* name, std::vector<int64_t> shape) {
      tensors.push_back({fmt::format("model.layers.{}.{}.weight", layer, name), std::move(shape)});
    };
    add("input_layernorm", {hidden});
    add("self_attn.q_proj", {q_dim, hidden});
    add("self_attn.k_proj", {kv_dim, hidden});
    add("self_attn.v_proj", {kv_dim, hidden});
    add("self_attn.o_proj", {hidden, q_dim});
    add("post_attention_layernorm", {hidden});
    add("mlp.gate_proj", {inner, hidden});
    add("mlp.up_proj", {inner, hidden});
    add("mlp.down_proj", {hidden, inner});
  }
  tensors.push_back({"model.norm.weight", {hidden}});
  if (!config.tie_word_embeddings) tensors.push_back({"lm_head.weight", {vocab, hidden}});
  return tensors;
}

}  // namespace strata
