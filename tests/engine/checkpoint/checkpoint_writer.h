// Writes small checkpoints of any shape, with weights that a seed determines.

#ifndef STRATA_TESTS_ENGINE_CHECKPOINT_CHECKPOINT_WRITER_H_
#define STRATA_TESTS_ENGINE_CHECKPOINT_CHECKPOINT_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "kernels/tensor.h"
#include "nlohmann/json.hpp"

namespace strata {

// A tensor as a safetensors file holds it.
struct RawTensor {
  std::string name;
  std::string dtype;  // "F32", "F16", "BF16", ...
  std::vector<int64_t> shape;
  std::string bytes;
};

// The bytes of a safetensors file. The first form pads the header with spaces,
// so that the data start at a multiple of 8; the second takes the header as it is.
std::string SerializeSafetensors(const std::vector<RawTensor>& tensors);
std::string SerializeSafetensors(std::string_view header, std::string_view data);

// `count` values as the file's bytes, rounded to nearest even.
std::string EncodeFloats(const std::vector<float>& values, kernels::DType dtype);

struct TinyModel {
  // Sizes, rope, eos and so on; the defaults are a GQA model of some 20,000 parameters.
  ModelConfig config = DefaultConfig();
  kernels::DType dtype = kernels::DType::kBF16;
  int num_shards = 1;  // 1: model.safetensors; more: shards and an index
  uint64_t seed = 1;
  bool write_head_dim = true;  // false: left to be hidden_size / num_heads

  static ModelConfig DefaultConfig();
};

// config.json's contents for `model`.
nlohmann::json ConfigJson(const TinyModel& model);
// All tensors of the model: norm weights near 1, matrices of variance 1 / inputs,
// embeddings of variance 1.
std::vector<RawTensor> RandomTensors(const TinyModel& model);
// Writes config.json and the weights into `folder`, which exists.
void WriteCheckpoint(const std::string& folder, const TinyModel& model);

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_CHECKPOINT_CHECKPOINT_WRITER_H_
