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
  tensors.push_back({kEmbeddingTensor, {vocab, hidden}});
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

LayerMatrices MatricesOfLayer(const ModelConfig& config, int layer) {
  const int64_t hidden = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  const int64_t q_dim = static_cast<int64_t>(config.num_heads) * config.head_dim;
  const int64_t kv_dim = static_cast<int64_t>(config.num_kv_heads) * config.head_dim;
  const auto name = [layer](const char* of) {
    return fmt::format("model.layers.{}.{}", layer, of);
  };
  const auto tensor = [&](const char* of) { return name(of) + ".weight"; };
  return {
      {name("self_attn.qkv"),
       {tensor("self_attn.q_proj"), tensor("self_attn.k_proj"), tensor("self_attn.v_proj")},
       {q_dim + 2 * kv_dim, hidden, false}},
      {name("self_attn.out"), {tensor("self_attn.o_proj")}, {hidden, q_dim, false}},
      {name("mlp.gate_up"),
       {tensor("mlp.gate_proj"), tensor("mlp.up_proj")},
       {inner, hidden, true}},
      {name("mlp.down"), {tensor("mlp.down_proj")}, {hidden, inner, false}},
  };
}

MatrixSpec HeadMatrix(const ModelConfig& config) {
  return {"lm_head",
          {config.tie_word_embeddings ? kEmbeddingTensor : "lm_head.weight"},
          {config.vocab_size, config.hidden_size, false}};
}

std::vector<MatrixSpec> ModelMatrices(const ModelConfig& config) {
  std::vector<MatrixSpec> matrices;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    LayerMatrices of_layer = MatricesOfLayer(config, layer);
    for (MatrixSpec* matrix : {&of_layer.qkv, &of_layer.out, &of_layer.gate_up, &of_layer.down}) {
      matrices.push_back(std::move(*matrix));
    }
  }
  matrices.push_back(HeadMatrix(config));
  return matrices;
}

}  // namespace strata
