#include "engine/model/pack_checkpoint.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <new>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "engine/checkpoint/license.h"
#include "engine/checkpoint/model_tensors.h"
#include "engine/checkpoint/packed_file.h"
#include "engine/checkpoint/safetensors_writer.h"
#include "engine/model/matrix_loader.h"
#include "engine/status_macros.h"

namespace strata {
namespace {

namespace fs = std::filesystem;
using kernels::DType;
using kernels::HostMatrix;

// What may lie beside the weights and means something to us or to the people who serve them; the
// files of kLicenseFiles come on top.
constexpr const char* kCopiedFiles[] = {
    "config.json",       "generation_config.json", "tokenizer.json",
    "tokenizer.model",   "tokenizer_config.json",  "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja",    "NOTICE",
    "README.md"};

absl::Status Failed(const fs::path& path, const char* what, const std::error_code& error) {
  return absl::InvalidArgumentError(
      fmt::format("{}: cannot be {}: {}", path.string(), what, error.message()));
}

// A folder that is gone unless it has been moved to its place.
class PendingFolder {
 public:
  // Next to `target`, so that a rename moves it.
  static absl::StatusOr<std::unique_ptr<PendingFolder>> Create(const fs::path& target) {
    std::error_code error;
    const fs::file_status status = fs::status(target, error);
    if (fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(target, error))) {
      return absl::InvalidArgumentError(
          fmt::format("{}: exists and is no empty folder; name a new one", target.string()));
    }
    std::string path = target.string() + ".XXXXXX";
    if (mkdtemp(path.data()) == nullptr) {
      return Failed(path, "created", {errno, std::generic_category()});
    }
    std::unique_ptr<PendingFolder> folder(new PendingFolder(target, path));
    fs::permissions(path, fs::perms{0755}, error);  // mkdtemp's are the owner's alone
    if (error) return Failed(path, "made readable", error);
    return folder;
  }
  ~PendingFolder() {
    std::error_code error;
    if (!path_.empty()) fs::remove_all(path_, error);
  }
  PendingFolder(const PendingFolder&) = delete;
  PendingFolder& operator=(const PendingFolder&) = delete;

  const fs::path& path() const { return path_; }

  absl::Status MoveToTarget() {
    std::error_code error;
    fs::rename(path_, target_, error);
    if (error) return Failed(target_, "written", error);
    path_.clear();
    return absl::OkStatus();
  }

 private:
  PendingFolder(fs::path target, fs::path path)
      : target_(std::move(target)), path_(std::move(path)) {}

  const fs::path target_;
  fs::path path_;
};

absl::Status CopyIfThere(const fs::path& from, const fs::path& to, const char* name) {
  std::error_code error;
  if (!fs::is_regular_file(from / name, error)) return absl::OkStatus();
  fs::copy_file(from / name, to / name, error);  // follows links
  return error ? Failed(to / name, "written", error) : absl::OkStatus();
}

const char* SafetensorsName(DType dtype) {
  return dtype == DType::kF32 ? "F32" : dtype == DType::kBF16 ? "BF16" : "F16";
}

std::span<const std::byte> BytesOf(const HostMatrix& m) {
  return {static_cast<const std::byte*>(m.data), m.rows * m.cols * kernels::SizeOf(m.dtype)};
}

// The tensors that stay as they are: the embedding, then the norms. All are multiples of 32 bytes,
// so that each begins aligned.
std::vector<TensorSpec> PlainTensors(const ModelConfig& config) {
  std::vector<TensorSpec> plain;
  for (TensorSpec& spec : ModelTensors(config)) {
    if (spec.shape.size() == 1 || spec.name == kEmbeddingTensor) plain.push_back(std::move(spec));
  }
  return plain;
}

absl::Status WriteWeights(const Checkpoint& checkpoint, kernels::Backend& backend,
                          const std::string& path) {
  kernels::PackedWeights& weights = *backend.packed_weights();
  const std::vector<TensorSpec> plain = PlainTensors(checkpoint.config());
  const std::vector<MatrixSpec> matrices = ModelMatrices(checkpoint.config());
  std::vector<TensorToWrite> tensors;
  for (const TensorSpec& spec : plain) {
    const HostMatrix tensor = checkpoint.Tensor(spec.name);
    tensors.push_back({spec.name, SafetensorsName(tensor.dtype), spec.shape,
                       static_cast<int64_t>(BytesOf(tensor).size())});
  }
  for (const MatrixSpec& matrix : matrices) {
    const int64_t size = weights.SizeBytes(matrix.shape);
    tensors.push_back({matrix.name, "U8", {size}, size});
  }
  PackedHeader header;
  header.format = weights.format();
  header.layout = weights.layout();
  header.packed_by = backend.Description();
  header.model_name = checkpoint.config().name;
  header.license = checkpoint.license();
  ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsWriter> writer,
                   SafetensorsWriter::Create(path, ToMetadata(header), tensors));
  for (const TensorSpec& spec : plain) {
    RETURN_IF_ERROR(writer->Append(BytesOf(checkpoint.Tensor(spec.name))));
  }
  ASSIGN_OR_RETURN(const MatrixLoader loader, MatrixLoader::Create(checkpoint, backend));
  for (const MatrixSpec& spec : matrices) {
    ASSIGN_OR_RETURN(const std::unique_ptr<kernels::Matrix> matrix, loader.Load(spec));
    RETURN_IF_ERROR(writer->Append(weights.Bytes(*matrix)));
  }
  return writer->Finish();
}

}  // namespace

absl::StatusOr<PackedSummary> PackCheckpoint(const Checkpoint& checkpoint,
                                             kernels::Backend& backend, const std::string& folder) {
  if (checkpoint.packed() != nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("{}: is packed already; pack the original checkpoint", checkpoint.folder()));
  }
  if (backend.packed_weights() == nullptr) {
    return absl::FailedPreconditionError(
        fmt::format("the weights of {} cannot be saved", backend.Description()));
  }
  fs::path target = fs::path(folder).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // a slash at the end
  ASSIGN_OR_RETURN(const std::unique_ptr<PendingFolder> pending, PendingFolder::Create(target));
  for (const char* name : kCopiedFiles) {
    RETURN_IF_ERROR(CopyIfThere(checkpoint.folder(), pending->path(), name));
  }
  for (const char* name : kLicenseFiles) {
    RETURN_IF_ERROR(CopyIfThere(checkpoint.folder(), pending->path(), name));
  }
  const fs::path weights = pending->path() / kPackedFileName;
  try {
    RETURN_IF_ERROR(WriteWeights(checkpoint, backend, weights.string()));
  } catch (const kernels::DeviceError& error) {
    return absl::ResourceExhaustedError(fmt::format("packing the model: {}", error.what()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("packing the model: out of memory");
  }
  std::error_code error;
  PackedSummary summary;
  summary.size_bytes = static_cast<int64_t>(fs::file_size(weights, error));
  summary.layout = backend.packed_weights()->layout();
  RETURN_IF_ERROR(pending->MoveToTarget());
  return summary;
}

}  // namespace strata
