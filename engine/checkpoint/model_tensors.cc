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

LayerMatrices MatricesOfLayer(const ModelConfig& config, const ModelShard& shard, int layer) {
  const IndexRange hidden = {0, config.hidden_size};
  const IndexRange q = shard.heads * config.head_dim;
  const IndexRange kv = shard.kv_heads * config.head_dim;
  const auto name = [layer](const char* of) {
    return fmt::format("model.layers.{}.{}", layer, of);
  };
  const auto part = [&](const char* of, IndexRange rows, IndexRange cols) {
    return TensorPart{name(of) + ".weight", rows, cols};
  };
  return {
      {name("self_attn.qkv"),
       {part("self_attn.q_proj", q, hidden), part("self_attn.k_proj", kv, hidden),
        part("self_attn.v_proj", kv, hidden)},
       {q.size() + 2 * kv.size(), hidden.size(), false}},
      {name("self_attn.out"),
       {part("self_attn.o_proj", hidden, q)},
       {hidden.size(), q.size(), false}},
      {name("mlp.gate_up"),
       {part("mlp.gate_proj", shard.inner, hidden), part("mlp.up_proj", shard.inner, hidden)},
       {shard.inner.size(), hidden.size(), true}},
      {name("mlp.down"),
       {part("mlp.down_proj", hidden, shard.inner)},
       {hidden.size(), shard.inner.size(), false}},
  };
}

MatrixSpec HeadMatrix(const ModelConfig& config, const ModelShard& shard) {
  return {"lm_head",
          {{config.tie_word_embeddings ? kEmbeddingTensor : "lm_head.weight",
            shard.tokens,
            {0, config.hidden_size}}},
          {shard.tokens.size(), config.hidden_size, false}};
}

std::vector<MatrixSpec> ModelMatrices(const ModelConfig& config) {
  const ModelShard whole = WholeModel(config);
  std::vector<MatrixSpec> matrices;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    LayerMatrices of_layer = MatricesOfLayer(config, whole, layer);
    for (MatrixSpec* matrix : {&of_layer.qkv, &of_layer.out, &of_layer.gate_up, &of_layer.down}) {
      matrices.push_back(std::move(*matrix));
    }
  }
  matrices.push_back(HeadMatrix(config, whole));
  return matrices;
}

}  // namespace strata
