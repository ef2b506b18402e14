// The rotary embedding's part of config.json.

#ifndef STRATA_ENGINE_CHECKPOINT_ROPE_CONFIG_H_
#define STRATA_ENGINE_CHECKPOINT_ROPE_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "engine/checkpoint/model_config.h"
#include "nlohmann/json.hpp"

namespace strata {

// Sets rope_theta and rope_scaling. Reads "rope_theta" and "rope_scaling" (its type under
// "rope_type", or "type" in older files), or the newer "rope_parameters", which holds both and
// wins. Scalings other than none, linear and llama3 are refused.
absl::Status ReadRope(const nlohmann::json& root, const std::string& path, ModelConfig& config);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_ROPE_CONFIG_H_
