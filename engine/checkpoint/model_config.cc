#include "engine/checkpoint/model_config.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string_view>

#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/json_file.h"
#include "engine/checkpoint/printable.h"
#include "engine/checkpoint/rope_config.h"
#include "engine/status_macros.h"
#include "fmt/format.h"

namespace strata {
namespace {

using nlohmann::json;

// Well beyond the largest Llama (405B: 126 layers, hidden 16384, intermediate 53248, 128 heads,
// vocabulary 128256), and small enough that no product of two overflows.
constexpr int64_t kMaxVocabSize = 1 << 20;
constexpr int64_t kMaxHiddenSize = 1 << 16;
constexpr int64_t kMaxIntermediateSize = 1 << 18;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 256;
constexpr int64_t kMaxPositions = 1 << 22;
// Kernels work in blocks of this many elements.
constexpr int64_t kSizeMultiple = 16;
constexpr size_t kMaxEosTokens = 64;

absl::Status CheckArchitecture(const JsonFields& fields) {
  if (const json* names = fields.Find("architectures")) {
    const bool is_llama = names->is_array() && names->size() == 1 && names->front().is_string() &&
                          names->front().get_ref<const std::string&>() == "LlamaForCausalLM";
    if (!is_llama) {
      return fields.Unexpected("architectures", *names,
                               "[\"LlamaForCausalLM\"], the only architecture supported");
    }
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> type, fields.String("model_type"));
  if (type && *type != "llama") {
    return fields.Unexpected("model_type", *type, "\"llama\", the only model type supported");
  }
  if (!type && fields.Find("architectures") == nullptr) {
    return fields.Unexpected("architectures", nullptr, "[\"LlamaForCausalLM\"]");
  }
  return absl::OkStatus();
}

// What other members of the Llama family have and this implementation does not.
absl::Status CheckVariants(const JsonFields& fields) {
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    ASSIGN_OR_RETURN(const std::optional<bool> bias, fields.Bool(key));
    if (bias.value_or(false)) {
      return fields.Unexpected(key, true, "false: layers with biases are not supported");
    }
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> activation, fields.String("hidden_act"));
  if (activation && *activation != "silu") {
    return fields.Unexpected("hidden_act", *activation, "\"silu\"");
  }
  if (const json* quantization = fields.Find("quantization_config")) {
    return fields.Unexpected(
        "quantization_config", *quantization,
        "none: use the unquantised checkpoint, --dtype quantises it while loading");
  }
  return absl::OkStatus();
}

absl::Status CheckMultiple(const JsonFields& fields, std::string_view key, int value) {
  if (value % kSizeMultiple == 0) return absl::OkStatus();
  return fields.Unexpected(key, value, fmt::format("a multiple of {}", kSizeMultiple));
}

absl::Status ReadHeads(const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.num_heads, fields.RequiredInt("num_attention_heads", 1, kMaxHeads));
  ASSIGN_OR_RETURN(const std::optional<int64_t> kv_heads,
                   fields.Int("num_key_value_heads", 1, kMaxHeads));
  config.num_kv_heads = static_cast<int>(kv_heads.value_or(config.num_heads));
  if (config.num_heads % config.num_kv_heads != 0) {
    return fields.Unexpected("num_key_value_heads", config.num_kv_heads,
                             fmt::format("a divisor of num_attention_heads, {}", config.num_heads));
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> head_dim, fields.Int("head_dim", 1, kMaxHeadDim));
  if (!head_dim && config.hidden_size % config.num_heads != 0) {
    return fields.Unexpected("hidden_size", config.hidden_size,
                             fmt::format("a multiple of num_attention_heads, {}, or an explicit "
                                         "head_dim",
                                         config.num_heads));
  }
  config.head_dim = static_cast<int>(head_dim.value_or(config.hidden_size / config.num_heads));
  if (config.head_dim % kSizeMultiple != 0 || config.head_dim > kMaxHeadDim) {
    return fields.Unexpected(
        "head_dim", config.head_dim,
        fmt::format(
            "a multiple of {} up to {} (hidden_size / num_attention_heads where config.json "
            "does not say it)",
            kSizeMultiple, kMaxHeadDim));
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.vocab_size, fields.RequiredInt("vocab_size", 1, kMaxVocabSize));
  ASSIGN_OR_RETURN(config.hidden_size, fields.RequiredInt("hidden_size", 1, kMaxHiddenSize));
  ASSIGN_OR_RETURN(config.intermediate_size,
                   fields.RequiredInt("intermediate_size", 1, kMaxIntermediateSize));
  ASSIGN_OR_RETURN(config.num_layers, fields.RequiredInt("num_hidden_layers", 1, kMaxLayers));
  ASSIGN_OR_RETURN(config.max_position_embeddings,
                   fields.RequiredInt("max_position_embeddings", 1, kMaxPositions));
  RETURN_IF_ERROR(CheckMultiple(fields, "hidden_size", config.hidden_size));
  RETURN_IF_ERROR(CheckMultiple(fields, "intermediate_size", config.intermediate_size));
  return ReadHeads(fields, config);
}

// An id, a list of ids, or nothing.
absl::StatusOr<std::vector<int32_t>> ReadEosTokens(const JsonFields& fields, int vocab_size) {
  std::vector<int32_t> ids;
  const json* value = fields.Find("eos_token_id");
  if (value == nullptr) return ids;
  if (value->is_array() && value->size() > kMaxEosTokens) {
    return fields.Unexpected("eos_token_id", *value, fmt::format("at most {} ids", kMaxEosTokens));
  }
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab_size)) {
      return fields.Unexpected("eos_token_id", *value,
                               fmt::format("ids below vocab_size, {}", vocab_size));
    }
    const auto token = static_cast<int32_t>(id.get<uint64_t>());
    if (std::find(ids.begin(), ids.end(), token) == ids.end()) ids.push_back(token);
  }
  return ids;
}

// The folder's name, or "owner/model" where the folder lies in the Hub's cache
// (models--owner--model/snapshots/<revision>).
std::string NameOfFolder(const std::string& folder) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(folder, error).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  constexpr std::string_view kCachePrefix = "models--";
  const std::string cached = path.parent_path().parent_path().filename().string();
  if (path.parent_path().filename() == "snapshots" && cached.starts_with(kCachePrefix)) {
    const std::string name = cached.substr(kCachePrefix.size());
    const size_t dashes = name.find("--");
    if (dashes == name.npos) return name;
    return fmt::format("{}/{}", name.substr(0, dashes), name.substr(dashes + 2));
  }
  return path.filename().string();
}

absl::Status ReadScalars(const JsonFields& fields, ModelConfig& config) {
  // 1e-6 is what Hugging Face's LlamaConfig takes where the file is silent.
  ASSIGN_OR_RETURN(const std::optional<double> eps, fields.Number("rms_norm_eps", 0.0, 1.0));
  config.rms_norm_eps = eps.value_or(1e-6);
  ASSIGN_OR_RETURN(const std::optional<bool> tied, fields.Bool("tie_word_embeddings"));
  config.tie_word_embeddings = tied.value_or(false);
  ASSIGN_OR_RETURN(const std::optional<int64_t> bos,
                   fields.Int("bos_token_id", 0, config.vocab_size - 1));
  if (bos) config.bos_token_id = static_cast<int32_t>(*bos);
  ASSIGN_OR_RETURN(config.eos_token_ids, ReadEosTokens(fields, config.vocab_size));
  return absl::OkStatus();
}

// generation_config.json, or an empty object where there is none.
absl::StatusOr<json> ReadGenerationJson(const std::string& path) {
  if (!FileExists(path)) return json::object();
  return ReadJsonFile(path);
}

std::string GenerationPath(const std::string& folder) { return folder + "/generation_config.json"; }

}  // namespace

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& folder) {
  const std::string path = folder + "/config.json";
  ASSIGN_OR_RETURN(const json root, ReadJsonFile(path));
  const JsonFields fields(root, path);
  RETURN_IF_ERROR(CheckArchitecture(fields));
  RETURN_IF_ERROR(CheckVariants(fields));
  ModelConfig config;
  RETURN_IF_ERROR(ReadSizes(fields, config));
  RETURN_IF_ERROR(ReadScalars(fields, config));
  RETURN_IF_ERROR(ReadRope(root, path, config));
  ASSIGN_OR_RETURN(const std::optional<std::string> name, fields.String("_name_or_path"));
  config.name = name && !name->empty() ? Printable(*name, 256) : NameOfFolder(folder);

  const std::string generation_path = GenerationPath(folder);
  ASSIGN_OR_RETURN(const json generation, ReadGenerationJson(generation_path));
  ASSIGN_OR_RETURN(const std::vector<int32_t> eos_tokens,
                   ReadEosTokens(JsonFields(generation, generation_path), config.vocab_size));
  if (!eos_tokens.empty()) config.eos_token_ids = eos_tokens;
  return config;
}

absl::StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::string& folder) {
  const std::string path = GenerationPath(folder);
  ASSIGN_OR_RETURN(const json root, ReadGenerationJson(path));
  const JsonFields fields(root, path);
  constexpr double kMaxFloat = std::numeric_limits<float>::max();
  constexpr int64_t kMaxInt = std::numeric_limits<int>::max();
  constexpr double kMinPositive = std::numeric_limits<float>::min();

  GenerationDefaults defaults;
  ASSIGN_OR_RETURN(const auto temperature, fields.Number("temperature", 0.0, kMaxFloat));
  if (temperature) defaults.temperature = static_cast<float>(*temperature);
  ASSIGN_OR_RETURN(const auto do_sample, fields.Bool("do_sample"));
  if (do_sample && !*do_sample) defaults.temperature = 0.0f;
  ASSIGN_OR_RETURN(const auto top_p, fields.Number("top_p", kMinPositive, 1.0));
  if (top_p) defaults.top_p = static_cast<float>(*top_p);
  ASSIGN_OR_RETURN(const auto top_k, fields.Int("top_k", 0, kMaxInt));
  if (top_k) defaults.top_k = static_cast<int>(*top_k);
  ASSIGN_OR_RETURN(const auto penalty,
                   fields.Number("repetition_penalty", kMinPositive, kMaxFloat));
  if (penalty) defaults.repetition_penalty = static_cast<float>(*penalty);
  ASSIGN_OR_RETURN(const auto max_new_tokens, fields.Int("max_new_tokens", 1, kMaxInt));
  if (max_new_tokens) defaults.max_new_tokens = static_cast<int>(*max_new_tokens);
  return defaults;
}

}  // namespace strata
