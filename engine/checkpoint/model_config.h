// What config.json and generation_config.json say about a Llama checkpoint.

#ifndef STRATA_ENGINE_CHECKPOINT_MODEL_CONFIG_H_
#define STRATA_ENGINE_CHECKPOINT_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace strata {

struct RopeScaling {
  enum class Type { kNone, kLinear, kLlama3 };
  Type type = Type::kNone;
  double factor = 1.0;
  // Llama 3 only.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int original_max_position_embeddings = 0;
};

struct ModelConfig {
  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;  // divides num_heads; equal: MHA, 1: MQA
  int head_dim = 0;
  int max_position_embeddings = 0;
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;  // generation_config.json's list wins over config.json's
  std::string name;                    // _name_or_path if present, else the folder's name
};

// What generation_config.json says; what it does not say is absent.
// do_sample=false reads as temperature 0.
struct GenerationDefaults {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int> top_k;
  std::optional<float> repetition_penalty;
  std::optional<int> max_new_tokens;
};

// Reads `folder`/config.json and, where present, generation_config.json.
// Refused, with the key's name and value in the message: unknown
// architectures, unsupported rope scalings, biases, activations other than
// SiLU, sizes out of range or inconsistent (see kMax* in the .cc).
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& folder);
absl::StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::string& folder);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_MODEL_CONFIG_H_
