// A checkpoint folder, opened read-only: configuration, and tensors by memory map. It is
// Hugging Face's, or one that PackCheckpoint wrote: then packed() holds the matrices.

#ifndef STRATA_ENGINE_CHECKPOINT_CHECKPOINT_H_
#define STRATA_ENGINE_CHECKPOINT_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "kernels/tensor.h"

namespace strata {

class PackedFile;
class SafetensorsFile;

// The licence that a checkpoint carries.
struct CheckpointLicense {
  // "fair-noncommercial-research": the licence text, the model's or folder's name, or config.json
  //   says so.
  // "custom-noncommercial": another text that speaks of noncommercial use.
  // "apache-2.0", "mit": a LICENSE file with that text.
  // "custom": a LICENSE file with any other text.
  // Without a LICENSE file, what config.json's "license" key says, in lower case.
  // Empty: none found.
  std::string id;
  std::string text;  // of the LICENSE file; may be empty where only a name or config.json says so
  // Whether the operator must accept `id` before it is served: there is a LICENSE file (whatever
  // its text: whether its terms suit is not ours to judge), or a name or config.json says
  // noncommercial.
  bool needs_acceptance = false;
};

// Immutable after Open; safe to read from several threads.
class Checkpoint {
 public:
  // Opens `folder` and checks everything that can be checked without reading
  // weights: headers, offsets (in range, not overlapping), that each tensor that the configuration
  // implies is present with its exact shape and a supported type (f32, f16, bf16).
  // Errors name the file and the tensor or key:
  //   NOT_FOUND            folder or file missing
  //   INVALID_ARGUMENT     malformed, truncated, inconsistent, unsupported
  // A folder with packed weights is one whatever else lies in it.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& folder);
  ~Checkpoint();

  const std::string& folder() const { return folder_; }
  const ModelConfig& config() const { return config_; }
  const GenerationDefaults& generation_defaults() const { return generation_defaults_; }
  const CheckpointLicense& license() const { return license_; }
  // Sum over all tensors of the model.
  int64_t num_parameters() const { return num_parameters_; }

  // A tensor that Open has checked; vectors are matrices of one row. The
  // memory is the file's map: valid while this object lives.
  // REQUIRES: `name` is one of the tensors that config() implies; where packed() is not null, one
  // that is no part of a matrix, or the embedding.
  kernels::HostMatrix Tensor(std::string_view name) const;
  // Announces that all of the tensor is about to be read.
  void Prefetch(const kernels::HostMatrix& tensor) const;
  // Gives back the memory that reading the tensor has taken; it can be read again.
  void Release(const kernels::HostMatrix& tensor) const;

  // Null: the matrices are not packed.
  const PackedFile* packed() const { return packed_.get(); }

 private:
  Checkpoint() = default;
  absl::Status OpenTensors();
  absl::Status OpenPacked();

  std::string folder_;
  ModelConfig config_;
  GenerationDefaults generation_defaults_;
  CheckpointLicense license_;
  int64_t num_parameters_ = 0;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::unique_ptr<PackedFile> packed_;
  std::map<std::string, kernels::HostMatrix, std::less<>> tensors_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_CHECKPOINT_H_
