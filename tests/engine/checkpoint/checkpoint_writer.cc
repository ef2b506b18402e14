#include "tests/engine/checkpoint/checkpoint_writer.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <random>

#include "engine/checkpoint/model_tensors.h"
#include "tests/engine/checkpoint/temporary_folder.h"

namespace strata {
namespace {

using kernels::DType;
using nlohmann::json;

uint16_t ToBF16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// For values of at most 65504, which all weights are.
uint16_t ToF16(float value) {
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const float magnitude = std::fabs(value);
  if (magnitude < 0x1p-14f) {  // subnormal: a multiple of 2^-24
    return sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f));
  }
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0xfff + (bits >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded >> 13) - ((127 - 15) << 10));
}

void AppendLittleEndian(uint64_t value, size_t num_bytes, std::string& out) {
  for (size_t i = 0; i < num_bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

const char* SafetensorsName(DType dtype) {
  return dtype == DType::kF32 ? "F32" : dtype == DType::kBF16 ? "BF16" : "F16";
}

std::vector<float> RandomValues(const TensorSpec& spec, std::mt19937_64& random) {
  const bool is_norm = spec.shape.size() == 1;
  const bool is_embedding = spec.name == "model.embed_tokens.weight";
  size_t count = 1;
  for (const int64_t dim : spec.shape) count *= static_cast<size_t>(dim);
  // A uniform variable in [-sqrt(3), sqrt(3)) has variance 1.
  const float scale = is_norm        ? 0.1f
                      : is_embedding ? std::sqrt(3.0f)
                                     : std::sqrt(3.0f / static_cast<float>(spec.shape[1]));
  std::vector<float> values(count);
  for (float& value : values) {
    // 24 bits by hand: the standard's distributions differ between libraries.
    const float unit = static_cast<float>(random() >> 40) * 0x1p-23f - 1.0f;
    value = (is_norm ? 1.0f : 0.0f) + scale * unit;
  }
  return values;
}

json RopeJson(const RopeScaling& scaling) {
  switch (scaling.type) {
    case RopeScaling::Type::kNone:
      break;
    case RopeScaling::Type::kLinear:
      return {{"rope_type", "linear"}, {"factor", scaling.factor}};
    case RopeScaling::Type::kLlama3:
      return {{"rope_type", "llama3"},
              {"factor", scaling.factor},
              {"low_freq_factor", scaling.low_freq_factor},
              {"high_freq_factor", scaling.high_freq_factor},
              {"original_max_position_embeddings", scaling.original_max_position_embeddings}};
  }
  return nullptr;
}

}  // namespace

std::string SerializeSafetensors(std::string_view header, std::string_view data) {
  std::string file;
  AppendLittleEndian(header.size(), 8, file);
  file += header;
  file += data;
  return file;
}

std::string SerializeSafetensors(const std::vector<RawTensor>& tensors) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const RawTensor& tensor : tensors) {
    const size_t begin = data.size();
    data += tensor.bytes;
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return SerializeSafetensors(text, data);
}

std::string EncodeFloats(const std::vector<float>& values, DType dtype) {
  std::string out;
  out.reserve(values.size() * kernels::SizeOf(dtype));
  for (const float value : values) {
    switch (dtype) {
      case DType::kF32:
        AppendLittleEndian(std::bit_cast<uint32_t>(value), 4, out);
        break;
      case DType::kBF16:
        AppendLittleEndian(ToBF16(value), 2, out);
        break;
      case DType::kF16:
        AppendLittleEndian(ToF16(value), 2, out);
        break;
    }
  }
  return out;
}

ModelConfig TinyModel::DefaultConfig() {
  ModelConfig config;
  config.vocab_size = 64;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 16;
  config.max_position_embeddings = 128;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  config.name = "tiny";
  return config;
}

json ConfigJson(const TinyModel& model) {
  const ModelConfig& config = model.config;
  json root = {{"architectures", {"LlamaForCausalLM"}},
               {"model_type", "llama"},
               {"hidden_act", "silu"},
               {"vocab_size", config.vocab_size},
               {"hidden_size", config.hidden_size},
               {"intermediate_size", config.intermediate_size},
               {"num_hidden_layers", config.num_layers},
               {"num_attention_heads", config.num_heads},
               {"num_key_value_heads", config.num_kv_heads},
               {"max_position_embeddings", config.max_position_embeddings},
               {"rms_norm_eps", config.rms_norm_eps},
               {"rope_theta", config.rope_theta},
               {"rope_scaling", RopeJson(config.rope_scaling)},
               {"tie_word_embeddings", config.tie_word_embeddings},
               {"eos_token_id", config.eos_token_ids},
               {"_name_or_path", config.name}};
  if (model.write_head_dim) root["head_dim"] = config.head_dim;
  if (config.bos_token_id) root["bos_token_id"] = *config.bos_token_id;
  return root;
}

std::vector<RawTensor> RandomTensors(const TinyModel& model) {
  std::mt19937_64 random(model.seed);
  std::vector<RawTensor> tensors;
  for (const TensorSpec& spec : ModelTensors(model.config)) {
    tensors.push_back({spec.name, SafetensorsName(model.dtype), spec.shape,
                       EncodeFloats(RandomValues(spec, random), model.dtype)});
  }
  return tensors;
}

void WriteCheckpoint(const std::string& folder, const TinyModel& model) {
  WriteFile(folder + "/config.json", ConfigJson(model).dump(1));
  const std::vector<RawTensor> tensors = RandomTensors(model);
  if (model.num_shards == 1) {
    WriteFile(folder + "/model.safetensors", SerializeSafetensors(tensors));
    return;
  }
  // Dealt in turn, so that neighbours lie in different files.
  std::vector<std::vector<RawTensor>> shards(model.num_shards);
  json weight_map;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const size_t shard = i % shards.size();
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", shard + 1, shards.size());
    weight_map[tensors[i].name] = name;
    shards[shard].push_back(tensors[i]);
  }
  for (const std::vector<RawTensor>& shard : shards) {
    if (shard.empty()) continue;
    const auto name = weight_map[shard.front().name].get<std::string>();
    WriteFile(folder + "/" + name, SerializeSafetensors(shard));
  }
  WriteFile(folder + "/model.safetensors.index.json",
            json{{"metadata", json::object()}, {"weight_map", weight_map}}.dump(1));
}

}  // namespace strata
