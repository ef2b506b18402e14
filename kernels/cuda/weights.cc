#include "kernels/cuda/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cpu/quantization.h"
#include "kernels/cpu/quantized_layout.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/float_types.h"

namespace strata::kernels::cuda {
namespace {

// Rows are converted in pieces of about this size.
constexpr int64_t kPieceBytes = int64_t{4} << 20;

int64_t ValueRowBytes(WeightFormat format, int64_t cols) {
  switch (format) {
    case WeightFormat::kF32:
      return cols * 4;
    case WeightFormat::kBF16:
    case WeightFormat::kF16:
      return cols * 2;
    case WeightFormat::kInt8:
      return PaddedK<Int8Format>(cols);
    case WeightFormat::kInt4:
      return PaddedK<Int4Format>(cols) / 2;
  }
  return 0;
}

int64_t ScaleRowBytes(WeightFormat format, int64_t cols) {
  return format == WeightFormat::kInt8 ? PaddedK<Int8Format>(cols) / Int8Format::kGroup * 2 : 0;
}
int64_t RowScaleBytes(WeightFormat format) { return format == WeightFormat::kInt4 ? 4 : 0; }
int64_t CodeRowBytes(WeightFormat format, int64_t cols) {
  return format == WeightFormat::kInt4 ? PaddedK<Int4Format>(cols) / Int4Format::kGroup * 2 : 0;
}

// A row of a checkpoint's tensors.
struct SourceRow {
  const HostMatrix* part = nullptr;
  int64_t row = 0;

  float At(int64_t column) const {
    return LoadAsF32(part->data, part->dtype, row * part->cols + column);
  }
};

std::vector<SourceRow> SourceRows(std::span<const HostMatrix> parts, bool gated) {
  std::vector<SourceRow> rows;
  for (const HostMatrix& part : parts) {
    for (int64_t row = 0; row < part.rows; ++row) rows.push_back({&part, row});
  }
  if (!gated) return rows;
  std::vector<SourceRow> in_turn;
  for (int64_t row = 0; row < parts[0].rows; ++row) {
    in_turn.push_back({&parts[0], row});
    in_turn.push_back({&parts[1], row});
  }
  return in_turn;
}

// Some rows as device memory holds them.
struct Piece {
  std::vector<std::byte> values, scales, row_scales, codes;
};

void AppendBytes(std::vector<std::byte>& to, const void* bytes, size_t size) {
  const auto* first = static_cast<const std::byte*>(bytes);
  to.insert(to.end(), first, first + size);
}

// Saturating would quietly make another model of the checkpoint.
uint16_t ToF16InRange(float weight) {
  if (std::abs(weight) > kMaxF16) {
    throw DeviceError(
        "a weight of the checkpoint is beyond 65504, the largest number of f16: take bf16 or f32");
  }
  return F32ToF16(weight);
}

void AppendPlain(const SourceRow& row, WeightFormat format, int64_t cols, Piece& piece) {
  const DType dtype = FloatTypeOf(format);
  const size_t row_bytes = cols * SizeOf(dtype);
  if (row.part->dtype == dtype) {
    AppendBytes(piece.values, static_cast<const std::byte*>(row.part->data) + row.row * row_bytes,
                row_bytes);
    return;
  }
  for (int64_t j = 0; j < cols; ++j) {
    const float value = row.At(j);
    if (dtype == DType::kF32) {
      AppendBytes(piece.values, &value, sizeof(value));
    } else {
      const uint16_t half = dtype == DType::kBF16 ? F32ToBf16(value) : ToF16InRange(value);
      AppendBytes(piece.values, &half, sizeof(half));
    }
  }
}

// The CPU's packing of one column, taken apart: the same integers and scales on every device.
template <class Format>
std::vector<char> PackedColumn(const SourceRow& row, int64_t cols) {
  std::vector<float> values(PaddedK<Format>(cols));
  for (int64_t j = 0; j < cols; ++j) values[j] = row.At(j);
  std::vector<char> panel(PanelBytes<Format>(PaddedK<Format>(cols), 1));
  if constexpr (Format::kBits == 8) {
    PackInt8Column(values, 0, 1, panel.data());
  } else {
    PackInt4Column(values, 0, 1, panel.data());
  }
  return panel;
}

void AppendInt8(const SourceRow& row, int64_t cols, Piece& piece) {
  std::vector<char> panel = PackedColumn<Int8Format>(row, cols);
  for (size_t at = 0; at < panel.size(); at += Int8Format::kColumnBytes) {
    char* group = &panel[at];
    for (int64_t i = 0; i < Int8Format::kGroup; ++i) {
      group[i] = static_cast<char>(static_cast<uint8_t>(group[i]) - 128);
    }
    AppendBytes(piece.values, group, Int8Format::kGroup);
    AppendBytes(piece.scales, group + Int8Format::kGroup, Int8Format::kScaleBytes);
  }
}

void AppendInt4(const SourceRow& row, int64_t cols, Piece& piece) {
  const std::vector<char> panel = PackedColumn<Int4Format>(row, cols);
  AppendBytes(piece.row_scales, panel.data(), Int4Format::kHeadBytes);
  for (size_t at = Int4Format::kHeadBytes; at < panel.size(); at += Int4Format::kColumnBytes) {
    constexpr int64_t kNibbleBytes = Int4Format::kGroup / 2;
    AppendBytes(piece.values, &panel[at], kNibbleBytes);
    AppendBytes(piece.codes, &panel[at + kNibbleBytes], 2);
  }
}

void AppendRow(const SourceRow& row, WeightFormat format, int64_t cols, Piece& piece) {
  if (format == WeightFormat::kInt8) return AppendInt8(row, cols, piece);
  if (format == WeightFormat::kInt4) return AppendInt4(row, cols, piece);
  AppendPlain(row, format, cols, piece);
}

}  // namespace

CudaMatrix::CudaMatrix(const std::shared_ptr<Device>& device, WeightFormat format, int64_t rows,
                       int64_t cols) {
  const auto allocate = [&](int64_t row_bytes) {
    return row_bytes == 0 ? Buffer() : Device::Allocate(device, rows * row_bytes);
  };
  values_ = allocate(ValueRowBytes(format, cols));
  scales_ = allocate(ScaleRowBytes(format, cols));
  row_scales_ = allocate(RowScaleBytes(format));
  codes_ = allocate(CodeRowBytes(format, cols));
  weights_.format = format;
  weights_.rows = rows;
  weights_.cols = cols;
  weights_.values = values_.data();
  weights_.scales = scales_.data();
  weights_.row_scales = static_cast<const float*>(row_scales_.data());
  weights_.codes = static_cast<const uint8_t*>(codes_.data());
}

std::unique_ptr<CudaMatrix> CudaMatrix::Load(const std::shared_ptr<Device>& device,
                                             WeightFormat format, std::span<const HostMatrix> parts,
                                             bool gated) {
  const std::vector<SourceRow> rows = SourceRows(parts, gated);
  const int64_t cols = parts.front().cols;
  const int64_t num_rows = static_cast<int64_t>(rows.size());
  std::unique_ptr<CudaMatrix> matrix(new CudaMatrix(device, format, num_rows, cols));
  const int64_t piece_rows = std::max<int64_t>(1, kPieceBytes / ValueRowBytes(format, cols));
  const auto send = [&](const Buffer& to, int64_t row, int64_t row_bytes,
                        const std::vector<std::byte>& bytes) {
    if (bytes.empty()) return;
    device->Upload(static_cast<std::byte*>(to.data()) + row * row_bytes, bytes);
  };
  for (int64_t first = 0; first < num_rows; first += piece_rows) {
    Piece piece;
    const int64_t end = std::min(first + piece_rows, num_rows);
    for (int64_t row = first; row < end; ++row) AppendRow(rows[row], format, cols, piece);
    send(matrix->values_, first, ValueRowBytes(format, cols), piece.values);
    send(matrix->scales_, first, ScaleRowBytes(format, cols), piece.scales);
    send(matrix->row_scales_, first, RowScaleBytes(format), piece.row_scales);
    send(matrix->codes_, first, CodeRowBytes(format, cols), piece.codes);
  }
  return matrix;
}

std::unique_ptr<CudaMatrix> CudaMatrix::Select(const std::shared_ptr<Device>& device,
                                               const CudaMatrix& from,
                                               std::span<const int32_t> rows) {
  const DeviceWeights& w = from.weights_;
  const int64_t count = static_cast<int64_t>(rows.size());
  std::unique_ptr<CudaMatrix> matrix(new CudaMatrix(device, w.format, count, w.cols));
  const Buffer indices = Device::Allocate(device, rows.size_bytes());
  device->Upload(indices.data(), std::as_bytes(rows));
  const auto gather = [&](const Buffer& src, int64_t row_bytes, const Buffer& dst) {
    if (row_bytes == 0) return;
    GatherBytes(device->stream(), src.data(), static_cast<const int32_t*>(indices.data()), count,
                row_bytes, dst.data());
  };
  gather(from.values_, ValueRowBytes(w.format, w.cols), matrix->values_);
  gather(from.scales_, ScaleRowBytes(w.format, w.cols), matrix->scales_);
  gather(from.row_scales_, RowScaleBytes(w.format), matrix->row_scales_);
  gather(from.codes_, CodeRowBytes(w.format, w.cols), matrix->codes_);
  return matrix;
}

size_t CudaMatrix::size_bytes() const {
  return values_.size_bytes() + scales_.size_bytes() + row_scales_.size_bytes() +
         codes_.size_bytes();
}

CudaEmbedding::CudaEmbedding(const std::shared_ptr<Device>& device, const HostMatrix& table)
    : dtype_(table.dtype) {
  const std::span bytes(static_cast<const std::byte*>(table.data),
                        static_cast<size_t>(table.rows * table.cols) * SizeOf(dtype_));
  data_ = Device::Allocate(device, bytes.size());
  device->Upload(data_.data(), bytes);
}

}  // namespace strata::kernels::cuda
