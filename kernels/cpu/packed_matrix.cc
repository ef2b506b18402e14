#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu_memory.h"
#include "kernels/cpu/quantization.h"
#include "kernels/cpu/quantized_layout.h"
#include "kernels/float_types.h"

namespace strata::kernels {
namespace {

// To be raised with any change to the bytes of a panel: saved ones are then refused.
constexpr int kLayoutRevision = 1;

// Columns of K packed at a time: a cache line or two of each source row.
constexpr int64_t kStrip = 32;

// One source row (one output feature); data null: padding, left zero.
struct SourceRow {
  const char* data = nullptr;
  DType dtype = DType::kF32;
};

SourceRow RowOf(const HostMatrix& m, int64_t row) {
  return {static_cast<const char*>(m.data) + row * m.cols * static_cast<int64_t>(SizeOf(m.dtype)),
          m.dtype};
}

SourceRow RowOf(std::span<const HostMatrix> parts, int64_t row) {
  for (const HostMatrix& part : parts) {
    if (row < part.rows) return RowOf(part, row);
    row -= part.rows;
  }
  return {};
}

// Elements [first, first + kStrip) of the row, converted.
void Convert(const SourceRow& row, int64_t first, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = LoadAsF32(row.data, row.dtype, first + i);
}
void Convert(const SourceRow& row, int64_t first, int64_t count, uint16_t* out) {
  if (row.dtype == DType::kBF16) {
    std::memcpy(out, row.data + first * 2, count * 2);
    return;
  }
  for (int64_t i = 0; i < count; ++i) out[i] = F32ToBf16(LoadAsF32(row.data, row.dtype, first + i));
}

// panel f32 [k][cols], bf16 [k / 2][cols][2]
template <typename T>
void PackPanel(std::span<const SourceRow> rows, int64_t k, T* panel) {
  constexpr int64_t kPerLane = 4 / sizeof(T);
  const int64_t cols = static_cast<int64_t>(rows.size());
  for (int64_t first = 0; first < k; first += kStrip) {
    const int64_t count = std::min(kStrip, k - first);
    for (int64_t j = 0; j < cols; ++j) {
      if (rows[j].data == nullptr) continue;
      T strip[kStrip];
      Convert(rows[j], first, count, strip);
      T* out = panel + first * cols + j * kPerLane;
      for (int64_t i = 0; i < count; i += kPerLane) {
        std::memcpy(out + i * cols, strip + i, 4);
      }
    }
  }
}

// k padded; a column at a time.
void PackQuantizedPanel(std::span<const SourceRow> rows, int64_t source_k, int64_t k,
                        WeightFormat format, char* panel) {
  const int64_t cols = static_cast<int64_t>(rows.size());
  std::vector<float> weights(k);
  for (int64_t j = 0; j < cols; ++j) {
    if (rows[j].data == nullptr) {
      std::fill(weights.begin(), weights.end(), 0.0f);
    } else {
      Convert(rows[j], 0, source_k, weights.data());
    }
    if (format == WeightFormat::kInt8) {
      PackInt8Column(weights, j, cols, panel);
    } else {
      PackInt4Column(weights, j, cols, panel);
    }
  }
}

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Shape {
  int64_t k;  // padded
  int64_t panel_bytes;
  int64_t operand_row_bytes;
};

template <class Format>
Shape QuantizedShape(int64_t source_k, int64_t cols) {
  const int64_t k = PaddedK<Format>(source_k);
  return {k, PanelBytes<Format>(k, cols), QuantizedRowBytes<Format>(k)};
}

Shape ShapeOf(int64_t source_k, const KernelTable& kernels) {
  switch (kernels.weights) {
    case WeightFormat::kInt8:
      return QuantizedShape<Int8Format>(source_k, kernels.panel_cols);
    case WeightFormat::kInt4:
      return QuantizedShape<Int4Format>(source_k, kernels.panel_cols);
    case WeightFormat::kBF16:
      return {source_k, source_k * kernels.panel_cols * 2, 0};
    case WeightFormat::kF16:  // has no kernels
    case WeightFormat::kF32:
      break;
  }
  return {source_k, source_k * kernels.panel_cols * 4, 0};
}

// Where a column stands: in a panel, at a place.
struct Column {
  const char* panel;
  int64_t place;
};

// A panel is a sequence of strips: of each of `cols` columns kBytes, side by side.
class StripCopier {
 public:
  // Copies the columns to the first places of `to`.
  StripCopier(std::span<const Column> columns, int64_t cols, char* to)
      : columns_(columns), cols_(cols), to_(to) {}

  template <int kBytes>
  void Copy(int64_t num_strips) {
    for (int64_t i = 0; i < num_strips; ++i, offset_ += cols_ * kBytes) {
      char* to = to_ + offset_;
      for (const Column& column : columns_) {
        std::memcpy(to, column.panel + offset_ + column.place * kBytes, kBytes);
        to += kBytes;
      }
    }
  }

 private:
  std::span<const Column> columns_;
  int64_t cols_;
  char* to_;
  int64_t offset_ = 0;
};

// Strip by strip, so that each line of the source is read once where columns lie close together.
void CopyColumns(std::span<const Column> columns, int64_t k, const KernelTable& kernels,
                 char* panel) {
  StripCopier copier(columns, kernels.panel_cols, panel);
  switch (kernels.weights) {
    case WeightFormat::kF32:
      return copier.Copy<4>(k);
    case WeightFormat::kBF16:
      return copier.Copy<4>(k / 2);
    case WeightFormat::kF16:
      return;
    case WeightFormat::kInt8:
      for (int64_t first = 0; first < k; first += Int8Format::kGroup) {
        copier.Copy<4>(Int8Format::kGroup / 4);
        copier.Copy<2>(1);
      }
      return;
    case WeightFormat::kInt4:
      copier.Copy<4>(1);
      for (int64_t first = 0; first < k; first += Int4Format::kGroup) {
        copier.Copy<4>(Int4Format::kGroup / 8);
        copier.Copy<1>(2);
      }
      return;
  }
}

// Of a matrix of this shape.
int64_t NumPanels(const MatrixShape& shape, const KernelTable& kernels) {
  return CeilDiv(shape.rows, shape.gated ? kernels.panel_cols / 2 : kernels.panel_cols);
}

}  // namespace

PackedMatrix::PackedMatrix(int64_t num_panels, int64_t source_k, const KernelTable& kernels)
    : num_panels_(num_panels) {
  const Shape shape = ShapeOf(source_k, kernels);
  k_ = shape.k;
  panel_bytes_ = shape.panel_bytes;
  operand_row_bytes_ = shape.operand_row_bytes;
  panels_ = AllocateHost(num_panels * panel_bytes_);
}

// row_of(panel, column) finds what stands in a column of a panel.
template <typename RowOfColumn>
void PackedMatrix::PackAll(int64_t source_k, const KernelTable& kernels, ThreadPool& pool,
                           const RowOfColumn& row_of) {
  pool.ParallelFor(num_panels_, /*serial=*/false, [&](int64_t begin, int64_t end) {
    std::vector<SourceRow> rows(kernels.panel_cols);
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t j = 0; j < kernels.panel_cols; ++j) rows[j] = row_of(p, j);
      char* panel = static_cast<char*>(panels_.data()) + p * panel_bytes_;
      switch (kernels.weights) {
        case WeightFormat::kF32:
          PackPanel(rows, k_, reinterpret_cast<float*>(panel));
          break;
        case WeightFormat::kBF16:
          PackPanel(rows, k_, reinterpret_cast<uint16_t*>(panel));
          break;
        case WeightFormat::kF16:
          break;
        case WeightFormat::kInt8:
        case WeightFormat::kInt4:
          PackQuantizedPanel(rows, source_k, k_, kernels.weights, panel);
          break;
      }
    }
  });
}

std::unique_ptr<PackedMatrix> PackedMatrix::Pack(std::span<const HostMatrix> parts,
                                                 const KernelTable& kernels, ThreadPool& pool) {
  int64_t n = 0;
  for (const HostMatrix& part : parts) n += part.rows;
  const int64_t k = parts.front().cols;
  std::unique_ptr<PackedMatrix> matrix(
      new PackedMatrix(NumPanels({n, k, /*gated=*/false}, kernels), k, kernels));
  matrix->PackAll(k, kernels, pool, [&](int64_t panel, int64_t j) {
    return RowOf(parts, panel * kernels.panel_cols + j);
  });
  return matrix;
}

std::unique_ptr<PackedMatrix> PackedMatrix::PackGated(const HostMatrix& gate, const HostMatrix& up,
                                                      const KernelTable& kernels,
                                                      ThreadPool& pool) {
  const int64_t half = kernels.panel_cols / 2;
  std::unique_ptr<PackedMatrix> matrix(new PackedMatrix(
      NumPanels({gate.rows, gate.cols, /*gated=*/true}, kernels), gate.cols, kernels));
  matrix->PackAll(gate.cols, kernels, pool, [&](int64_t panel, int64_t j) {
    const HostMatrix& source = j < half ? gate : up;
    const int64_t row = panel * half + j % half;
    return row < source.rows ? RowOf(source, row) : SourceRow{};
  });
  return matrix;
}

std::unique_ptr<PackedMatrix> PackedMatrix::Select(const PackedMatrix& from,
                                                   std::span<const int32_t> columns,
                                                   const KernelTable& kernels, ThreadPool& pool) {
  const int64_t cols = kernels.panel_cols;
  const int64_t n = static_cast<int64_t>(columns.size());
  std::unique_ptr<PackedMatrix> matrix(new PackedMatrix(CeilDiv(n, cols), from.k_, kernels));
  if (n == 0) return matrix;
  const char* source = static_cast<const char*>(from.panels_.data());
  char* panels = static_cast<char*>(matrix->panels_.data());
  pool.ParallelFor(matrix->num_panels_, /*serial=*/false, [&](int64_t begin, int64_t end) {
    std::vector<Column> chosen;
    for (int64_t p = begin; p < end; ++p) {
      chosen.clear();
      for (int64_t j = p * cols; j < std::min(n, (p + 1) * cols); ++j) {
        chosen.push_back({source + columns[j] / cols * from.panel_bytes_, columns[j] % cols});
      }
      CopyColumns(chosen, from.k_, kernels, panels + p * from.panel_bytes_);
    }
  });
  return matrix;
}

std::unique_ptr<PackedMatrix> PackedMatrix::Load(const MatrixShape& shape,
                                                 const PackedWeights::ReadBytes& read,
                                                 const KernelTable& kernels, ThreadPool& pool) {
  // Copied rather than used where the file is mapped: its pages of 4 KiB cost a quarter of the
  // speed at which huge ones can be read.
  std::unique_ptr<PackedMatrix> matrix(
      new PackedMatrix(NumPanels(shape, kernels), shape.cols, kernels));
  std::atomic<bool> failed = false;
  pool.ParallelFor(matrix->num_panels_, /*serial=*/false, [&](int64_t begin, int64_t end) {
    const int64_t offset = begin * matrix->panel_bytes_;
    const int64_t size = (end - begin) * matrix->panel_bytes_;
    auto* out = static_cast<std::byte*>(matrix->panels_.data()) + offset;
    if (!read(offset, {out, static_cast<size_t>(size)})) failed = true;
  });
  return failed ? nullptr : std::move(matrix);
}

int64_t PackedMatrix::SizeBytes(const MatrixShape& shape, const KernelTable& kernels) {
  return NumPanels(shape, kernels) * ShapeOf(shape.cols, kernels).panel_bytes;
}

std::string PackedMatrix::LayoutName(const KernelTable& kernels) {
  return std::string(NameOf(kernels.weights)) + " panels of " + std::to_string(kernels.panel_cols) +
         " columns, revision " + std::to_string(kLayoutRevision);
}

}  // namespace strata::kernels
