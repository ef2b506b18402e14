// The checkpoints whose shapes are simulated.

#ifndef STRATA_BENCH_SIMULATOR_MODEL_SHAPES_H_
#define STRATA_BENCH_SIMULATOR_MODEL_SHAPES_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"

namespace strata::sim {

// Shapes by their published config.json: "llama2-7b", "llama2-13b", "llama2-70b", "llama3-8b",
// "llama3.2-1b".
const std::vector<ModelConfig>& KnownModelShapes();
// Errors: NOT_FOUND, with the known names.
absl::StatusOr<ModelConfig> FindModelShape(std::string_view name);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_MODEL_SHAPES_H_
