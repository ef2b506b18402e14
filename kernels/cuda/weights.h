// Weight matrices and embedding tables in device memory, from a checkpoint's tensors.

#ifndef STRATA_KERNELS_CUDA_WEIGHTS_H_
#define STRATA_KERNELS_CUDA_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/mat_mul_kernels.h"

namespace strata::kernels::cuda {

class CudaMatrix : public Matrix {
 public:
  // The rows of `parts`, one part after the other; if `gated`, those of the two parts in turn.
  // Rows are converted while earlier ones are on their way to the device.
  static std::unique_ptr<CudaMatrix> Load(const std::shared_ptr<Device>& device,
                                          WeightFormat format, std::span<const HostMatrix> parts,
                                          bool gated);
  static std::unique_ptr<CudaMatrix> Select(const std::shared_ptr<Device>& device,
                                            const CudaMatrix& from, std::span<const int32_t> rows);

  size_t size_bytes() const override;
  const DeviceWeights& weights() const { return weights_; }

 private:
  CudaMatrix(const std::shared_ptr<Device>& device, WeightFormat format, int64_t rows,
             int64_t cols);

  DeviceWeights weights_;
  // What weights_ points to. `values` and, if quantised, the others.
  Buffer values_, scales_, row_scales_, codes_;
};

class CudaEmbedding : public EmbeddingTable {
 public:
  CudaEmbedding(const std::shared_ptr<Device>& device, const HostMatrix& table);
  const void* data() const { return data_.data(); }
  DType dtype() const { return dtype_; }

 private:
  DType dtype_;
  Buffer data_;
};

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_WEIGHTS_H_
