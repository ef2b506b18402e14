#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/cpu_memory.h"
#include "kernels/float_types.h"

namespace strata::kernels {
namespace {

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

// row_of(panel, column) finds what stands in a column of a panel.
template <typename RowOfColumn>
void PackAll(int64_t num_panels, int64_t k, const KernelTable& kernels, ThreadPool& pool,
             char* panels, const RowOfColumn& row_of) {
  const int64_t panel_bytes = k * kernels.panel_cols * (kernels.bf16_weights ? 2 : 4);
  pool.ParallelFor(num_panels, /*serial=*/false, [&](int64_t begin, int64_t end) {
    std::vector<SourceRow> rows(kernels.panel_cols);
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t j = 0; j < kernels.panel_cols; ++j) rows[j] = row_of(p, j);
      char* panel = panels + p * panel_bytes;
      if (kernels.bf16_weights) {
        PackPanel(rows, k, reinterpret_cast<uint16_t*>(panel));
      } else {
        PackPanel(rows, k, reinterpret_cast<float*>(panel));
      }
    }
  });
}

// Bytes of a column in one step of a panel: a panel is [steps][columns][kLaneBytes] whatever the
// weights' type.
constexpr int64_t kLaneBytes = 4;

// Step by step, so that each line of the source is read once where columns lie close together.
void CopyLanes(std::span<const char* const> columns, int64_t num_steps, int64_t panel_cols,
               char* panel) {
  const int64_t step_bytes = panel_cols * kLaneBytes;
  for (int64_t at = 0; at < num_steps * step_bytes; at += step_bytes) {
    char* to = panel + at;
    for (const char* column : columns) {
      std::memcpy(to, column + at, kLaneBytes);
      to += kLaneBytes;
    }
  }
}

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

PackedMatrix::PackedMatrix(int64_t num_panels, int64_t k, const KernelTable& kernels)
    : num_panels_(num_panels),
      k_(k),
      panels_(AllocateHost(num_panels * k * kernels.panel_cols * (kernels.bf16_weights ? 2 : 4))) {}

std::unique_ptr<PackedMatrix> PackedMatrix::Pack(std::span<const HostMatrix> parts,
                                                 const KernelTable& kernels, ThreadPool& pool) {
  int64_t n = 0;
  for (const HostMatrix& part : parts) n += part.rows;
  const int64_t k = parts.front().cols;
  std::unique_ptr<PackedMatrix> matrix(
      new PackedMatrix(CeilDiv(n, kernels.panel_cols), k, kernels));
  PackAll(matrix->num_panels_, k, kernels, pool, static_cast<char*>(matrix->panels_.data()),
          [&](int64_t panel, int64_t j) { return RowOf(parts, panel * kernels.panel_cols + j); });
  return matrix;
}

std::unique_ptr<PackedMatrix> PackedMatrix::PackGated(const HostMatrix& gate, const HostMatrix& up,
                                                      const KernelTable& kernels,
                                                      ThreadPool& pool) {
  const int64_t half = kernels.panel_cols / 2;
  std::unique_ptr<PackedMatrix> matrix(
      new PackedMatrix(CeilDiv(gate.rows, half), gate.cols, kernels));
  PackAll(matrix->num_panels_, gate.cols, kernels, pool, static_cast<char*>(matrix->panels_.data()),
          [&](int64_t panel, int64_t j) {
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
  const int64_t panel_bytes = static_cast<int64_t>(from.size_bytes()) / from.num_panels_;
  const char* source = static_cast<const char*>(from.panels_.data());
  char* panels = static_cast<char*>(matrix->panels_.data());
  pool.ParallelFor(matrix->num_panels_, /*serial=*/false, [&](int64_t begin, int64_t end) {
    std::vector<const char*> lanes;
    for (int64_t p = begin; p < end; ++p) {
      lanes.clear();
      for (int64_t j = p * cols; j < std::min(n, (p + 1) * cols); ++j) {
        lanes.push_back(source + columns[j] / cols * panel_bytes + columns[j] % cols * kLaneBytes);
      }
      CopyLanes(lanes, panel_bytes / (cols * kLaneBytes), cols, panels + p * panel_bytes);
    }
  });
  return matrix;
}

}  // namespace strata::kernels
