#include "kernels/cuda/products.h"

#include <string>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cuda/row_kernels.h"

namespace strata::kernels::cuda {
namespace {

// With fewer blocks for each processor, parts of K run side by side.
constexpr int64_t kFewBlocks = 2;

void Check(cublasStatus_t status, const char* doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw DeviceError(std::string("GPU: ") + doing + ": " + cublasGetStatusString(status));
}

cudaDataType CublasType(DType dtype) {
  return dtype == DType::kF32 ? CUDA_R_32F : dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_16F;
}

}  // namespace

Products::Products(std::shared_ptr<Device> device, bool deterministic)
    : device_(std::move(device)), deterministic_(deterministic) {}

Products::~Products() {
  if (cublas_ != nullptr) cublasDestroy(cublas_);
}

void Products::Multiply(ConstTensorView a, const DeviceWeights& w, Output output, TensorView out) {
  if (a.rows == 0) return;
  const cudaStream_t stream = device_->stream();
  const bool quantized = w.format == WeightFormat::kInt8 || w.format == WeightFormat::kInt4;
  if (!deterministic_ && !quantized) {
    if (output != Output::kGate) return MultiplyByCublas(a, w, output == Output::kAdd, out.data);
    void* both = scratch_.Get(device_, a.rows * w.rows * sizeof(float));
    MultiplyByCublas(a, w, false, both);
    return GateRows(stream, static_cast<const float*>(both), a.rows, out.cols, out.data, out.dtype);
  }
  MatMulTask task;
  task.a = a.data;
  task.rows = a.rows;
  task.weights = w;
  task.output = output;
  task.out = out.data;
  const int64_t parts = NumParts(w.cols);
  if (parts > 1 && NumTiles(a.rows, w) < kFewBlocks * device_->num_processors()) {
    task.partials =
        static_cast<float*>(scratch_.Get(device_, parts * a.rows * w.rows * sizeof(float)));
  }
  MultiplyInOrder(stream, task);
}

// Row-major out = a w^T is column-major out^T = w a^T.
void Products::MultiplyByCublas(ConstTensorView a, const DeviceWeights& w, bool add, void* out) {
  if (cublas_ == nullptr) {
    Check(cublasCreate(&cublas_), "starting cuBLAS");
    Check(cublasSetStream(cublas_, device_->stream()), "choosing cuBLAS's stream");
  }
  const float one = 1;
  const float keep = add ? 1 : 0;
  const cudaDataType type = CublasType(a.dtype);
  const int n = static_cast<int>(w.rows);
  const int k = static_cast<int>(w.cols);
  Check(cublasGemmEx(cublas_, CUBLAS_OP_T, CUBLAS_OP_N, n, static_cast<int>(a.rows), k, &one,
                     w.values, type, k, a.data, type, k, &keep, out, CUDA_R_32F, n,
                     CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
        "a matrix product");
}

}  // namespace strata::kernels::cuda
