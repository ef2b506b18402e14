// Which tensors a Llama checkpoint holds, by the names that Hugging Face gives them.

#ifndef STRATA_ENGINE_CHECKPOINT_MODEL_TENSORS_H_
#define STRATA_ENGINE_CHECKPOINT_MODEL_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/model_shard.h"
#include "kernels/backend.h"

namespace strata {

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // one dimension for norm weights, else [outputs, inputs]
};

// In the order of the forward pass. With tied embeddings there is no lm_head.weight.
std::vector<TensorSpec> ModelTensors(const ModelConfig& config);

inline constexpr char kEmbeddingTensor[] = "model.embed_tokens.weight";

// Rows and columns of a matrix tensor.
struct TensorPart {
  std::string tensor;
  IndexRange rows;  // output features
  IndexRange cols;  // input features
};

// A matrix that products use: parts of one or more tensors, packed together.
struct MatrixSpec {
  std::string name;               // "model.layers.0.self_attn.qkv"
  std::vector<TensorPart> parts;  // row-wise; if gated: gate, up
  kernels::MatrixShape shape;
};

// A rank's; with WholeModel the sizes in brackets.
struct LayerMatrices {
  MatrixSpec qkv;      // [(heads + 2 kv_heads) * head_dim, hidden]
  MatrixSpec out;      // [hidden, heads * head_dim]
  MatrixSpec gate_up;  // gated [2 x intermediate, hidden]
  MatrixSpec down;     // [hidden, intermediate]
};
LayerMatrices MatricesOfLayer(const ModelConfig& config, const ModelShard& shard, int layer);
MatrixSpec HeadMatrix(const ModelConfig& config, const ModelShard& shard);  // [vocab, hidden]
// All of them, of the whole model, in the order of the forward pass.
std::vector<MatrixSpec> ModelMatrices(const ModelConfig& config);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_MODEL_TENSORS_H_
