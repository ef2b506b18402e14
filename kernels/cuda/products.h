// Matrix products: our own kernels', or cuBLAS's.

#ifndef STRATA_KERNELS_CUDA_PRODUCTS_H_
#define STRATA_KERNELS_CUDA_PRODUCTS_H_

#include <cublas_v2.h>

#include <memory>

#include "kernels/cuda/device.h"
#include "kernels/cuda/mat_mul_kernels.h"

namespace strata::kernels::cuda {

// Thread rule and errors of a Backend.
class Products {
 public:
  Products(std::shared_ptr<Device> device, bool deterministic);
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  // a operand [n, K], w [N, K]; out f32 [n, N], or with kGate operand [n, N / 2]
  void Multiply(ConstTensorView a, const DeviceWeights& w, Output output, TensorView out);
  // Where partial results are. It moves when they need more room.
  const void* scratch() const { return scratch_.data(); }

 private:
  void MultiplyByCublas(ConstTensorView a, const DeviceWeights& w, bool add, void* out);

  const std::shared_ptr<Device> device_;
  const bool deterministic_;
  cublasHandle_t cublas_ = nullptr;  // made when first needed
  Scratch scratch_;
};

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_PRODUCTS_H_
