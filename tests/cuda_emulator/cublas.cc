// The part of cuBLAS that we use, over OpenBLAS. Real cuBLAS sums in another order.

#include <cblas.h>
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

#include "tests/cuda_emulator/block.h"
#include "tests/cuda_emulator/device_memory.h"
#include "tests/cuda_emulator/stream.h"

namespace {

using strata::cuda_emulator::DeviceAtWork;
using strata::cuda_emulator::Fail;
using strata::cuda_emulator::FromHandle;
using strata::cuda_emulator::IsDeviceMemory;
using strata::cuda_emulator::IsWithinAllocation;

struct Handle {
  cudaStream_t stream = nullptr;
};

// A column-major matrix of `rows` and `cols` in device memory.
struct Operand {
  const void* data;
  cudaDataType type;
  int64_t rows;
  int64_t cols;
  int64_t leading;

  size_t Bytes() const {
    const size_t size = type == CUDA_R_32F ? 4 : 2;
    return static_cast<size_t>((cols - 1) * leading + rows) * size;
  }
};

void Check(const Operand& m, const char* name) {
  const auto where = std::source_location::current();
  if (!IsDeviceMemory(m.data)) Fail(std::string(name) + " of cuBLAS is no device memory", where);
  if (!IsWithinAllocation(m.data, m.Bytes())) {
    Fail(std::string(name) + " of cuBLAS goes beyond its allocation", where);
  }
}

template <typename Element>
std::vector<float> ToF32As(const Operand& m) {
  const auto* elements = static_cast<const Element*>(m.data);
  return {elements, elements + (m.cols - 1) * m.leading + m.rows};
}

std::vector<float> ToF32(const Operand& m) {
  return m.type == CUDA_R_32F    ? ToF32As<float>(m)
         : m.type == CUDA_R_16BF ? ToF32As<__nv_bfloat16>(m)
                                 : ToF32As<__half>(m);
}

CBLAS_TRANSPOSE Transpose(cublasOperation_t op) {
  return op == CUBLAS_OP_N ? CblasNoTrans : CblasTrans;
}

}  // namespace

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  *handle = reinterpret_cast<cublasHandle_t>(new Handle);
  openblas_set_num_threads(1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  delete reinterpret_cast<Handle*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  reinterpret_cast<Handle*>(handle)->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_INVALID_VALUE";
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa,
                            cublasOperation_t transb, int m, int n, int k, const void* alpha,
                            const void* a, cudaDataType a_type, int lda, const void* b,
                            cudaDataType b_type, int ldb, const void* beta, void* c,
                            cudaDataType c_type, int ldc, cublasComputeType_t compute,
                            cublasGemmAlgo_t) {
  const bool known = (a_type == CUDA_R_32F || a_type == CUDA_R_16BF || a_type == CUDA_R_16F) &&
                     a_type == b_type && c_type == CUDA_R_32F && compute == CUBLAS_COMPUTE_32F;
  if (!known || m < 0 || n < 0 || k < 0 || strata::cuda_emulator::IsFailing("cublasGemmEx")) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const Operand left =
      transa == CUBLAS_OP_N ? Operand{a, a_type, m, k, lda} : Operand{a, a_type, k, m, lda};
  const Operand right =
      transb == CUBLAS_OP_N ? Operand{b, b_type, k, n, ldb} : Operand{b, b_type, n, k, ldb};
  const Operand out = {c, c_type, m, n, ldc};
  const float scale = *static_cast<const float*>(alpha);
  const float keep = *static_cast<const float*>(beta);
  FromHandle(reinterpret_cast<Handle*>(handle)->stream).Add([=] {
    Check(left, "A");
    Check(right, "B");
    Check(out, "C");
    const DeviceAtWork at_work;
    cblas_sgemm(CblasColMajor, Transpose(transa), Transpose(transb), m, n, k, scale,
                ToF32(left).data(), lda, ToF32(right).data(), ldb, keep, static_cast<float*>(c),
                ldc);
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
