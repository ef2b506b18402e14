// Weights packed into panels (layout in kernel_table.h).

#ifndef STRATA_KERNELS_CPU_PACKED_MATRIX_H_
#define STRATA_KERNELS_CPU_PACKED_MATRIX_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/thread_pool.h"

namespace strata::kernels {

class PackedMatrix : public Matrix {
 public:
  // The row-wise concatenation of `parts`.
  static std::unique_ptr<PackedMatrix> Pack(std::span<const HostMatrix> parts,
                                            const KernelTable& kernels, ThreadPool& pool);
  // Panels of panel_cols / 2 rows of gate and the same rows of up.
  static std::unique_ptr<PackedMatrix> PackGated(const HostMatrix& gate, const HostMatrix& up,
                                                 const KernelTable& kernels, ThreadPool& pool);
  // Some columns of `from`'s panels, which Pack or Select has made with the same kernels, in new
  // panels.
  static std::unique_ptr<PackedMatrix> Select(const PackedMatrix& from,
                                              std::span<const int32_t> columns,
                                              const KernelTable& kernels, ThreadPool& pool);
  // Bytes as panels() of such a matrix has them. Null if `read` has failed.
  static std::unique_ptr<PackedMatrix> Load(const MatrixShape& shape,
                                            const PackedWeights::ReadBytes& read,
                                            const KernelTable& kernels, ThreadPool& pool);
  // What size_bytes() of such a matrix would be.
  static int64_t SizeBytes(const MatrixShape& shape, const KernelTable& kernels);
  // Names what panels() depends on (PackedWeights::layout).
  static std::string LayoutName(const KernelTable& kernels);

  size_t size_bytes() const override { return panels_.size_bytes(); }
  const void* panels() const { return panels_.data(); }
  int64_t num_panels() const { return num_panels_; }
  int64_t k() const { return k_; }  // padded to whole groups if quantised
  // Of a row of quantised operands; 0 if the weights are not quantised.
  int64_t operand_row_bytes() const { return operand_row_bytes_; }

 private:
  PackedMatrix(int64_t num_panels, int64_t source_k, const KernelTable& kernels);
  template <typename RowOfColumn>
  void PackAll(int64_t source_k, const KernelTable& kernels, ThreadPool& pool,
               const RowOfColumn& row_of);

  int64_t num_panels_;
  int64_t k_;
  int64_t panel_bytes_;
  int64_t operand_row_bytes_;
  Buffer panels_;
};

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_PACKED_MATRIX_H_
