#include "engine/model/matrix_loader.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/checkpoint/packed_file.h"
#include "engine/status_macros.h"

namespace strata {

using kernels::HostMatrix;
using kernels::Matrix;

absl::StatusOr<MatrixLoader> MatrixLoader::Create(const Checkpoint& checkpoint,
                                                  kernels::Backend& backend) {
  MatrixLoader loader(checkpoint, backend);
  if (checkpoint.packed() == nullptr) return loader;
  const PackedHeader& header = checkpoint.packed()->header();
  const kernels::PackedWeights* weights = backend.packed_weights();
  const std::string layout = weights == nullptr ? "none" : weights->layout();
  if (layout == header.layout) return loader;
  return absl::FailedPreconditionError(fmt::format(
      "{}: its weights are packed as '{}' (by {}), but what runs here ({}) takes '{}'; pack the "
      "original checkpoint again here with strata-server --save-packed, or serve it directly",
      checkpoint.folder(), header.layout, header.packed_by, backend.Description(), layout));
}

absl::StatusOr<std::unique_ptr<Matrix>> MatrixLoader::Load(const MatrixSpec& matrix) const {
  if (checkpoint_.packed() != nullptr) return LoadPacked(matrix);
  std::vector<HostMatrix> parts;
  for (const std::string& part : matrix.parts) parts.push_back(checkpoint_.Tensor(part));
  for (const HostMatrix& part : parts) checkpoint_.Prefetch(part);
  std::unique_ptr<Matrix> loaded = matrix.shape.gated ? backend_.LoadGatedMatrix(parts[0], parts[1])
                                                      : backend_.LoadMatrix(parts);
  for (const HostMatrix& part : parts) checkpoint_.Release(part);
  return loaded;
}

absl::StatusOr<std::unique_ptr<Matrix>> MatrixLoader::LoadPacked(const MatrixSpec& matrix) const {
  const PackedFile& file = *checkpoint_.packed();
  kernels::PackedWeights& weights = *backend_.packed_weights();
  ASSIGN_OR_RETURN(const SafetensorsEntry* entry, file.FindMatrix(matrix.name));
  const auto expected = static_cast<uint64_t>(weights.SizeBytes(matrix.shape));
  if (entry->size_bytes != expected) {
    return file.Damaged(fmt::format("matrix {} has {} bytes, but config.json implies {}",
                                    matrix.name, entry->size_bytes, expected));
  }
  file.Prefetch(*entry);
  std::unique_ptr<Matrix> loaded = weights.Load(
      matrix.shape,
      [&](int64_t offset, std::span<std::byte> out) { return file.Read(*entry, offset, out); });
  if (loaded == nullptr) {
    return file.Damaged(fmt::format("matrix {} cannot be read", matrix.name));
  }
  return loaded;
}

}  // namespace strata
