#include "bench/simulator/model_shapes.h"

#include <fmt/format.h>

#include <string>

namespace strata::sim {
namespace {

struct Shape {
  const char* name;
  int vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, context;
  bool tied;
};

ModelConfig ToConfig(const Shape& shape) {
  ModelConfig config;
  config.name = shape.name;
  config.vocab_size = shape.vocab;
  config.hidden_size = shape.hidden;
  config.intermediate_size = shape.intermediate;
  config.num_layers = shape.layers;
  config.num_heads = shape.heads;
  config.num_kv_heads = shape.kv_heads;
  config.head_dim = shape.head_dim;
  config.max_position_embeddings = shape.context;
  config.tie_word_embeddings = shape.tied;
  return config;
}

std::vector<ModelConfig> MakeKnownModelShapes() {
  return {
      ToConfig({"llama2-7b", 32000, 4096, 11008, 32, 32, 32, 128, 4096, false}),
      ToConfig({"llama2-13b", 32000, 5120, 13824, 40, 40, 40, 128, 4096, false}),
      ToConfig({"llama2-70b", 32000, 8192, 28672, 80, 64, 8, 128, 4096, false}),
      ToConfig({"llama3-8b", 128256, 4096, 14336, 32, 32, 8, 128, 8192, false}),
      ToConfig({"llama3.2-1b", 128256, 2048, 8192, 16, 32, 8, 64, 131072, true}),
  };
}

}  // namespace

const std::vector<ModelConfig>& KnownModelShapes() {
  static const std::vector<ModelConfig> known = MakeKnownModelShapes();
  return known;
}

absl::StatusOr<ModelConfig> FindModelShape(std::string_view name) {
  std::string names;
  for (const ModelConfig& config : KnownModelShapes()) {
    if (config.name == name) return config;
    names += (names.empty() ? "" : ", ") + config.name;
  }
  return absl::NotFoundError(fmt::format("no model named \"{}\"; there are: {}", name, names));
}

}  // namespace strata::sim
