// Which tensors a Llama checkpoint holds, by the names that Hugging Face gives them.

#ifndef STRATA_ENGINE_CHECKPOINT_MODEL_TENSORS_H_
#define STRATA_ENGINE_CHECKPOINT_MODEL_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/checkpoint/model_config.h"

namespace strata {

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // one dimension for norm weights, else [outputs, inputs]
};

// In the order of the forward pass. With tied embeddings there is no lm_head.weight.
std::vector<TensorSpec> ModelTensors(const ModelConfig& config);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_MODEL_TENSORS_H_
