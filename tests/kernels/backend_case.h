// One suite for every backend: the cases it is instantiated with, and tensors
// in a backend's memory.

#ifndef STRATA_TESTS_KERNELS_BACKEND_CASE_H_
#define STRATA_TESTS_KERNELS_BACKEND_CASE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/weight_format.h"

namespace strata::kernels {

// Half the distance from 1 to the next f32, bf16, or f16: the largest relative
// error of one rounding.
inline constexpr double kEpsF32 = 0x1p-24;
inline constexpr double kEpsBf16 = 0x1p-8;
inline constexpr double kEpsF16 = 0x1p-11;

// What is declared here and not in backend_case.cc is in the file of a test
// program's own cases: cpu_cases.cc or cuda_cases.cc.
struct BackendCase {
  std::string isa;  // or "reference", or "cuda"
  WeightFormat weights = WeightFormat::kF32;

  // Where threads are no matter, the number chooses another order of execution.
  std::unique_ptr<Backend> Create(int num_threads = 2) const;
  std::string Name() const { return isa + "_" + NameOf(weights); }
};

// How GoogleTest shows a case.
inline void PrintTo(const BackendCase& c, std::ostream* os) { *os << c.Name(); }

// Reference, and each instruction set of this CPU with each weight type it can run; or the GPU's.
std::vector<BackendCase> AllBackendCases();
// Of these, as many as differ in how they attend.
std::vector<BackendCase> AttentionCases();
// Positions after which attention may begin a new partial result.
int PartitionTokens();
// Whether the backend's matrices can be saved.
bool CanPackWeights(const BackendCase& backend);

// The value that a number becomes when held as `dtype`: f16 saturates.
float Rounded(float value, DType dtype);
std::vector<float> Rounded(std::vector<float> values, DType dtype);

// What matrix products really compute with, by definitions of the tests' own:
// weights as the format holds them and, where products quantise them, operands.
// Both [rows, cols], cols being the input features.
std::vector<float> HeldWeights(std::vector<float> weights, int64_t cols, WeightFormat format);
std::vector<float> QuantizedOperands(std::vector<float> operands, int64_t cols,
                                     WeightFormat format);
bool QuantizesOperands(const BackendCase& backend);

// What writing a result as `dtype` may add to its error. f16's subnormals are 2^-24 apart.
inline double WriteError(DType dtype, double value) {
  const double magnitude = std::abs(value);
  return dtype == DType::kF32    ? kEpsF32 * magnitude
         : dtype == DType::kBF16 ? kEpsBf16 * magnitude
                                 : std::max(kEpsF16 * magnitude, 0x1p-25);
}

// Uniform in [-1, 1).
std::vector<float> RandomValues(int64_t count, uint32_t seed);

// A tensor in a backend's memory.
class DeviceTensor {
 public:
  DeviceTensor(Backend& backend, DType dtype, int64_t rows, int64_t cols);
  // Rounds the values to `dtype`.
  DeviceTensor(Backend& backend, DType dtype, int64_t rows, int64_t cols,
               const std::vector<float>& values);

  TensorView view() const { return buffer_.View(dtype_, rows_, cols_); }
  operator TensorView() const { return view(); }       // NOLINT: passed to operations
  operator ConstTensorView() const { return view(); }  // NOLINT
  std::vector<float> Values() const;                   // waits, then converts
  std::vector<float> Row(int64_t row) const;

 private:
  // The tensor in whole words of 4 bytes, which can be read back.
  int64_t NumWords() const {
    return (rows_ * cols_ * static_cast<int64_t>(SizeOf(dtype_)) + 3) / 4;
  }

  Backend& backend_;
  DType dtype_;
  int64_t rows_;
  int64_t cols_;
  Buffer buffer_;
};

// A checkpoint's tensor in host memory: the values rounded to `dtype`.
class HostTensor {
 public:
  HostTensor(DType dtype, int64_t rows, int64_t cols, const std::vector<float>& values);
  HostMatrix matrix() const { return {bytes_.data(), dtype_, rows_, cols_}; }

 private:
  DType dtype_;
  int64_t rows_;
  int64_t cols_;
  std::vector<char> bytes_;
};

class BackendTest : public testing::TestWithParam<BackendCase> {
 protected:
  BackendTest() : backend_(GetParam().Create()) {}
  WeightFormat weights() const { return GetParam().weights; }
  DType kv_dtype() const {
    return weights() == WeightFormat::kF32   ? DType::kF32
           : weights() == WeightFormat::kF16 ? DType::kF16
                                             : DType::kBF16;
  }

  std::unique_ptr<Backend> backend_;
};

// The pool's threads must not matter, nor must it matter that there are more
// of them than cores.
inline constexpr int kThreadCounts[] = {1, 2, 3, 4};

inline std::string CaseName(const testing::TestParamInfo<BackendCase>& info) {
  return info.param.Name();
}

}  // namespace strata::kernels

#define STRATA_FOR_BACKENDS(cases, Suite) \
  INSTANTIATE_TEST_SUITE_P(All, Suite, testing::ValuesIn(cases), CaseName)
#define STRATA_FOR_ALL_BACKENDS(Suite) STRATA_FOR_BACKENDS(AllBackendCases(), Suite)

#endif  // STRATA_TESTS_KERNELS_BACKEND_CASE_H_
