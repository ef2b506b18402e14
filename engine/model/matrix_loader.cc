#include "engine/model/matrix_loader.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "engine/checkpoint/packed_file.h"
#include "engine/status_macros.h"

namespace strata {

using kernels::HostMatrix;
using kernels::Matrix;

namespace {

const char* RowOf(const HostMatrix& m, int64_t row) {
  return static_cast<const char*>(m.data) +
         row * m.cols * static_cast<int64_t>(kernels::SizeOf(m.dtype));
}

// Some columns of a matrix, side by side as backends take them.
class ColumnCopy {
 public:
  ColumnCopy(const HostMatrix& from, IndexRange cols)
      : dtype_(from.dtype), rows_(from.rows), cols_(cols.size()) {
    const auto element = static_cast<int64_t>(kernels::SizeOf(dtype_));
    bytes_.resize(rows_ * cols_ * element);
    for (int64_t row = 0; row < rows_; ++row) {
      std::memcpy(bytes_.data() + row * cols_ * element, RowOf(from, row) + cols.begin * element,
                  cols_ * element);
    }
  }
  HostMatrix matrix() const { return {bytes_.data(), dtype_, rows_, cols_}; }

 private:
  kernels::DType dtype_;
  int64_t rows_;
  int64_t cols_;
  std::vector<char> bytes_;
};

}  // namespace

HostMatrix RowsOf(const HostMatrix& m, IndexRange rows) {
  return {RowOf(m, rows.begin), m.dtype, rows.size(), m.cols};
}

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
  std::vector<HostMatrix> sources;  // of whole rows
  for (const TensorPart& part : matrix.parts) {
    sources.push_back(RowsOf(checkpoint_.Tensor(part.tensor), part.rows));
    checkpoint_.Prefetch(sources.back());
  }
  std::vector<ColumnCopy> copies;
  copies.reserve(sources.size());
  std::vector<HostMatrix> parts;
  for (size_t i = 0; i < sources.size(); ++i) {
    const IndexRange& cols = matrix.parts[i].cols;
    if (cols.size() == sources[i].cols) {
      parts.push_back(sources[i]);
    } else {
      copies.emplace_back(sources[i], cols);
      parts.push_back(copies.back().matrix());
    }
  }
  std::unique_ptr<Matrix> loaded = matrix.shape.gated ? backend_.LoadGatedMatrix(parts[0], parts[1])
                                                      : backend_.LoadMatrix(parts);
  for (const HostMatrix& source : sources) checkpoint_.Release(source);
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
