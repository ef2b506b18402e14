// Rotary position embedding tables (RoFormer, arXiv 2104.09864), with the
// scalings that Llama checkpoints use.

#ifndef STRATA_ENGINE_MODEL_ROPE_H_
#define STRATA_ENGINE_MODEL_ROPE_H_

#include <vector>

#include "engine/checkpoint/model_config.h"

namespace strata {

// Angular frequency of each pair of dimensions, after scaling. [head_dim / 2]
std::vector<float> RopeFrequencies(const ModelConfig& config);

struct HostRopeTable {
  std::vector<float> cos;  // [max_positions, head_dim / 2]
  std::vector<float> sin;  // [max_positions, head_dim / 2]
};
HostRopeTable MakeRopeTable(const ModelConfig& config, int max_positions);

}  // namespace strata

#endif  // STRATA_ENGINE_MODEL_ROPE_H_
