#include "engine/checkpoint/checkpoint.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/json_file.h"
#include "engine/checkpoint/license.h"
#include "engine/checkpoint/model_tensors.h"
#include "engine/checkpoint/packed_file.h"
#include "engine/checkpoint/printable.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/status_macros.h"
#include "fmt/format.h"

namespace strata {
namespace {

using kernels::DType;
using kernels::HostMatrix;
using nlohmann::json;

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

absl::Status CheckFolder(const std::string& folder) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(folder, error);
  if (!std::filesystem::exists(status)) {
    return absl::NotFoundError(fmt::format("{}: no such checkpoint folder", folder));
  }
  if (!std::filesystem::is_directory(status)) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: not a folder; give the folder that holds config.json and the weights", folder));
  }
  return absl::OkStatus();
}

// A shard must lie in the checkpoint's folder: an index is not to make us open
// other files. Links are allowed, the Hub's cache consists of them.
bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

std::optional<DType> ToDType(std::string_view name) {
  if (name == "F32") return DType::kF32;
  if (name == "BF16") return DType::kBF16;
  if (name == "F16") return DType::kF16;
  return std::nullopt;
}

// Finds the file of each tensor and opens each file once.
class ShardSet {
 public:
  static absl::StatusOr<ShardSet> Open(const std::string& folder);

  // The file that holds `tensor`.
  absl::StatusOr<const SafetensorsFile*> FileOf(const std::string& tensor);
  std::vector<std::unique_ptr<SafetensorsFile>> TakeFiles() { return std::move(files_); }

 private:
  explicit ShardSet(std::string folder) : folder_(std::move(folder)) {}

  absl::StatusOr<const SafetensorsFile*> OpenShard(const std::string& name);

  std::string folder_;
  std::optional<json> weight_map_;  // absent: one file holds everything
  std::map<std::string, const SafetensorsFile*> by_name_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
};

absl::StatusOr<ShardSet> ShardSet::Open(const std::string& folder) {
  ShardSet shards(folder);
  if (FileExists(folder + "/" + kSingleFile)) return shards;
  const std::string path = folder + "/" + kIndexFile;
  if (!FileExists(path)) {
    return absl::NotFoundError(
        fmt::format("{}: neither {} nor {} is there; other weight formats are not read", folder,
                    kSingleFile, kIndexFile));
  }
  ASSIGN_OR_RETURN(json root, ReadJsonFile(path));
  const JsonFields fields(root, path);
  const json* weight_map = fields.Find("weight_map");
  if (weight_map == nullptr || !weight_map->is_object()) {
    return fields.Unexpected("weight_map", weight_map == nullptr ? json() : *weight_map,
                             "an object of tensor names and shard files");
  }
  shards.weight_map_ = std::move(root["weight_map"]);
  return shards;
}

absl::StatusOr<const SafetensorsFile*> ShardSet::FileOf(const std::string& tensor) {
  if (!weight_map_) return OpenShard(kSingleFile);
  const std::string index = folder_ + "/" + kIndexFile;
  const auto it = weight_map_->find(tensor);
  if (it == weight_map_->end()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: tensor {} is missing from weight_map, but config.json implies it", index,
                    Quoted(tensor)));
  }
  if (!it->is_string() || !IsPlainFileName(it->get_ref<const std::string&>())) {
    return absl::InvalidArgumentError(
        fmt::format("{}: weight_map puts tensor {} into {}, which is not the name of a file in the "
                    "checkpoint's folder",
                    index, Quoted(tensor), ShowJson(*it)));
  }
  auto file = OpenShard(it->get_ref<const std::string&>());
  if (absl::IsNotFound(file.status())) {
    return absl::NotFoundError(
        fmt::format("{}/{}: no such file, but {} names this shard; download it", folder_,
                    Printable(it->get_ref<const std::string&>()), kIndexFile));
  }
  return file;
}

absl::StatusOr<const SafetensorsFile*> ShardSet::OpenShard(const std::string& name) {
  if (const auto it = by_name_.find(name); it != by_name_.end()) return it->second;
  ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file,
                   SafetensorsFile::Open(folder_ + "/" + name));
  by_name_[name] = file.get();
  files_.push_back(std::move(file));
  return files_.back().get();
}

absl::StatusOr<HostMatrix> ReadTensor(const SafetensorsFile& file, const TensorSpec& spec) {
  const auto error = [&](const std::string& problem) {
    return absl::InvalidArgumentError(
        fmt::format("{}: tensor {} {}", file.path(), Quoted(spec.name), problem));
  };
  const SafetensorsEntry* entry = file.Find(spec.name);
  if (entry == nullptr) return error("is missing, but config.json implies it");
  if (entry->shape != spec.shape) {
    return error(fmt::format("has shape [{}], expected [{}] from config.json",
                             fmt::join(entry->shape, ", "), fmt::join(spec.shape, ", ")));
  }
  const std::optional<DType> dtype = ToDType(entry->dtype);
  if (!dtype) {
    return error(fmt::format("has type {}, supported are F32, F16 and BF16; convert the checkpoint",
                             entry->dtype));
  }
  if (reinterpret_cast<uintptr_t>(entry->data) % kernels::SizeOf(*dtype) != 0) {
    return error(
        fmt::format("starts at a position that is no multiple of {}, the size of {}; save the "
                    "checkpoint again with an up-to-date safetensors library",
                    kernels::SizeOf(*dtype), entry->dtype));
  }
  const bool is_vector = spec.shape.size() == 1;
  return HostMatrix{entry->data, *dtype, is_vector ? 1 : spec.shape[0],
                    is_vector ? spec.shape[0] : spec.shape[1]};
}

size_t SizeBytes(const HostMatrix& tensor) {
  return tensor.rows * tensor.cols * kernels::SizeOf(tensor.dtype);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& folder) {
  RETURN_IF_ERROR(CheckFolder(folder));
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->folder_ = folder;
  ASSIGN_OR_RETURN(checkpoint->config_, ReadModelConfig(folder));
  ASSIGN_OR_RETURN(checkpoint->generation_defaults_, ReadGenerationDefaults(folder));
  for (const TensorSpec& spec : ModelTensors(checkpoint->config_)) {
    checkpoint->num_parameters_ += std::accumulate(spec.shape.begin(), spec.shape.end(), int64_t{1},
                                                   std::multiplies<int64_t>());
  }
  const bool is_packed = FileExists(folder + "/" + kPackedFileName);
  RETURN_IF_ERROR(is_packed ? checkpoint->OpenPacked() : checkpoint->OpenTensors());
  ASSIGN_OR_RETURN(const CheckpointLicense found, DetectLicense(folder, checkpoint->config_.name));
  checkpoint->license_ = StricterOf(found, checkpoint->license_);
  return checkpoint;
}

absl::Status Checkpoint::OpenTensors() {
  ASSIGN_OR_RETURN(ShardSet shards, ShardSet::Open(folder_));
  for (const TensorSpec& spec : ModelTensors(config_)) {
    ASSIGN_OR_RETURN(const SafetensorsFile* file, shards.FileOf(spec.name));
    ASSIGN_OR_RETURN(const HostMatrix tensor, ReadTensor(*file, spec));
    tensors_.emplace(spec.name, tensor);
  }
  files_ = shards.TakeFiles();
  return absl::OkStatus();
}

absl::Status Checkpoint::OpenPacked() {
  ASSIGN_OR_RETURN(packed_, PackedFile::Open(folder_ + "/" + kPackedFileName));
  for (const TensorSpec& spec : ModelTensors(config_)) {
    if (spec.shape.size() > 1 && spec.name != kEmbeddingTensor) continue;
    ASSIGN_OR_RETURN(const HostMatrix tensor, ReadTensor(packed_->tensors(), spec));
    tensors_.emplace(spec.name, tensor);
  }
  for (const MatrixSpec& matrix : ModelMatrices(config_)) {
    RETURN_IF_ERROR(packed_->FindMatrix(matrix.name).status());
  }
  // What a folder's name said does not get lost with the name.
  config_.name = packed_->header().model_name;
  license_ = packed_->header().license;
  return absl::OkStatus();
}

Checkpoint::~Checkpoint() = default;

HostMatrix Checkpoint::Tensor(std::string_view name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    fmt::print(stderr, "Checkpoint::Tensor: {} is not among the model's tensors\n", Quoted(name));
    std::abort();
  }
  return it->second;
}

void Checkpoint::Prefetch(const HostMatrix& tensor) const {
  PrefetchMappedPages(tensor.data, SizeBytes(tensor));
}

void Checkpoint::Release(const HostMatrix& tensor) const {
  ReleaseMappedPages(tensor.data, SizeBytes(tensor));
}

}  // namespace strata
