// Which tensors a Llama checkpoint holds, by the names that Hugging Face gives them.

#ifndef STRATA_ENGINE_CHECKPOINT_MODEL_TENSORS_H_
#define STRATA_ENGINE_CHECKPOINT_MODEL_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "kernels/backend.h"

namespace strata {

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // one dimension for norm weights, else [outputs, inputs]
};

// In the order of the forward pass. With tied embeddings there is no lm_head.weight.
std::vector<TensorSpec> ModelTensors(const ModelConfig& config);

inline constexpr char kEmbeddingTensor[] = "model.embed_tokens.weight";

// A matrix that products use: one or more tensors, packed together.
struct MatrixSpec {
  std::string name;                // "model.layers.0.self_attn.qkv"
  std::vector<std::string> parts;  // the tensors, row-wise; if gated: gate, up
  kernels::MatrixShape shape;
};

struct LayerMatrices {
  MatrixSpec qkv;      // [(heads + 2 kv_heads) * head_dim, hidden]
  MatrixSpec out;      // [hidden, heads * head_dim]
  MatrixSpec gate_up;  // gated [2 x intermediate, hidden]
  MatrixSpec down;     // [hidden, intermediate]
};
LayerMatrices MatricesOfLayer(const ModelConfig& config, int layer);
MatrixSpec HeadMatrix(const ModelConfig& config);  // [vocab, hidden]
// All of them, in the order of the forward pass.
std::vector<MatrixSpec> ModelMatrices(const ModelConfig& config);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_MODEL_TENSORS_H_
