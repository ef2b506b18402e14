// What is the CUDA backend's own: choices by the number of rows, which must not show, and cuBLAS.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/mat_mul_kernels.h"
#include "kernels/float_types.h"
#include "tests/cuda_emulator/emulator.h"

namespace strata::kernels {
namespace {

std::vector<float> RandomValues(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random() >> 8) * 0x1p-23f - 1.0f;
  return values;
}

class CudaBackendTest : public testing::TestWithParam<WeightFormat> {
 protected:
  void Start(bool deterministic, cuda_emulator::Schedule schedule = {}) {
    cuda_emulator::Configure({.schedule = schedule, .lazy_streams = true});
    backend_ = CreateCudaBackend({GetParam(), 0, deterministic});
  }
  DType operand() const { return backend_->operand_dtype(); }

  Buffer Upload(const std::vector<float>& values, DType dtype) {
    Buffer buffer = backend_->Allocate(values.size() * SizeOf(dtype));
    std::vector<uint16_t> halves;
    for (const float value : values) {
      halves.push_back(dtype == DType::kF16 ? F32ToF16(value) : F32ToBf16(value));
    }
    backend_->CopyToDevice(
        buffer.data(),
        dtype == DType::kF32 ? static_cast<const void*>(values.data()) : halves.data(),
        buffer.size_bytes());
    return buffer;
  }
  // a [rows, k] times the matrix. [rows, n]
  std::vector<float> Product(const Matrix& matrix, const std::vector<float>& a, int64_t k,
                             int64_t n) {
    const int64_t rows = static_cast<int64_t>(a.size()) / k;
    const Buffer left = Upload(a, operand());
    const Buffer out = backend_->Allocate(rows * n * sizeof(float));
    backend_->MatMul(left.View(operand(), rows, k), matrix, Backend::Epilogue::kStore,
                     out.View(DType::kF32, rows, n));
    const float* host = backend_->ReadBack(out.View(DType::kF32, rows, n));
    return {host, host + rows * n};
  }

  std::unique_ptr<Backend> backend_;
};

// One row and low tiles, many and high ones; parts of K side by side, and one after the other.
TEST_P(CudaBackendTest, RowsDoNotDependOnTilesAndParts) {
  constexpr int64_t kManyRows = 75;
  constexpr int64_t kK = 2 * cuda::kPartK + 48;
  for (const int64_t n : {33, 300}) {
    Start(/*deterministic=*/true);
    const std::vector<float> w = RandomValues(n * kK, 1);
    const std::vector<float> a = RandomValues(kManyRows * kK, 2);
    const HostMatrix host[] = {{w.data(), DType::kF32, n, kK}};
    const auto matrix = backend_->LoadMatrix(host);
    const std::vector<float> all = Product(*matrix, a, kK, n);
    for (const int64_t count : {1, 15, 16, 17, 33}) {
      const std::vector<float> last(a.end() - count * kK, a.end());
      const std::vector<float> expected(all.end() - count * n, all.end());
      ASSERT_EQ(Product(*matrix, last, kK, n), expected) << count << " rows, " << n << " columns";
    }
  }
}

TEST_P(CudaBackendTest, CublasAgreesWithOurOwnProducts) {
  constexpr int64_t kRows = 5;
  constexpr int64_t kN = 70;
  constexpr int64_t kK = 144;
  const std::vector<float> w = RandomValues(2 * kN * kK, 3);
  const std::vector<float> a = RandomValues(kRows * kK, 4);
  const HostMatrix gate = {w.data(), DType::kF32, kN, kK};
  const HostMatrix up = {w.data() + kN * kK, DType::kF32, kN, kK};
  std::vector<std::vector<float>> plain;
  std::vector<std::vector<float>> gated;
  for (const bool deterministic : {true, false}) {
    Start(deterministic);
    const HostMatrix parts[] = {gate};
    plain.push_back(Product(*backend_->LoadMatrix(parts), a, kK, kN));
    const auto both = backend_->LoadGatedMatrix(gate, up);
    const Buffer left = Upload(a, operand());
    const Buffer out = backend_->Allocate(kRows * kN * sizeof(float));
    backend_->GatedMatMul(left.View(operand(), kRows, kK), *both, out.View(operand(), kRows, kN));
    const int64_t words = kRows * kN * static_cast<int64_t>(SizeOf(operand())) / 4;
    const float* host = backend_->ReadBack(out.View(DType::kF32, 1, words));
    gated.emplace_back();
    for (int64_t i = 0; i < kRows * kN; ++i) gated.back().push_back(LoadAsF32(host, operand(), i));
  }
  // Two orders of summation: each is off by at most K eps times the sum of magnitudes, below K.
  const double sum_error = 2.0 * kK * 0x1p-24 * kK;
  const double write_error = operand() == DType::kF32    ? 0
                             : operand() == DType::kBF16 ? 0x1p-7
                                                         : 0x1p-10;  // and 2^-24, if subnormal
  for (int64_t i = 0; i < kRows * kN; ++i) {
    ASSERT_NEAR(plain[0][i], plain[1][i], sum_error);
    // silu and up are below K, silu' below 1.1.
    ASSERT_NEAR(gated[0][i], gated[1][i],
                2.2 * sum_error * 20 + write_error * std::abs(gated[0][i]) + 0x1p-24);
  }
}

// Long contexts: all partitions in one block, or a block each.
TEST_P(CudaBackendTest, AttentionDoesNotDependOnHowPartitionsRun) {
  constexpr int kLength = 3 * cuda::kPartition + 5;
  constexpr int kBlocks = (kLength + kKvBlockTokens - 1) / kKvBlockTokens;
  const AttentionShape shape = {4, 2, 32};
  const int64_t row_size = int64_t{8} * 32;
  Start(/*deterministic=*/true, cuda_emulator::Schedule::kRandom);
  const auto kv = backend_->CreateKvCache({1, 2, 32, kBlocks});
  const Buffer cosines = Upload(std::vector<float>(kLength * 16, 1.0f), DType::kF32);
  const Buffer sines = Upload(std::vector<float>(kLength * 16, 0.0f), DType::kF32);
  const RopeTable rope = {static_cast<const float*>(cosines.data()),
                          static_cast<const float*>(sines.data())};
  std::vector<int32_t> tables(kBlocks);
  std::iota(tables.begin(), tables.end(), 0);
  const std::vector<float> qkv = RandomValues(kLength * row_size, 5);
  // Attention of the rows [first, kLength).
  const auto attend = [&](int first) {
    const int64_t rows = kLength - first;
    std::vector<int32_t> positions(rows);
    std::iota(positions.begin(), positions.end(), first);
    const std::vector<int32_t> zeros(rows);
    backend_->BeginBatch({zeros, positions, zeros, tables, kBlocks});
    const Buffer in = Upload({qkv.begin() + first * row_size, qkv.end()}, DType::kF32);
    const TensorView view = in.View(DType::kF32, rows, row_size);
    backend_->RopeAndAppendKv(view, shape, rope, *kv, 0);
    const Buffer out = backend_->Allocate(rows * 128 * sizeof(float));
    backend_->PagedAttention(view, shape, *kv, 0, out.View(operand(), rows, 128));
    const int64_t row_words = 128 * static_cast<int64_t>(SizeOf(operand())) / 4;
    const float* host = backend_->ReadBack(out.View(DType::kF32, rows, row_words));
    // As bits: two halves are no float to compare.
    std::vector<uint32_t> last(row_words);
    std::memcpy(last.data(), host + (rows - 1) * row_words, row_words * 4);
    return last;
  };
  const std::vector<uint32_t> together = attend(0);
  EXPECT_EQ(attend(kLength - 1), together);
  EXPECT_EQ(attend(kLength - 9), together);
}

// What GPUs and cuBLAS report is thrown, with what was being done.
TEST_P(CudaBackendTest, FailingCallsAreNamed) {
  const std::vector<float> ones(32 * 32, 1.0f);
  const HostMatrix host[] = {{ones.data(), DType::kF32, 32, 32}};
  const auto message = [&](std::string_view failing) -> std::string {
    Start(/*deterministic=*/false);
    const auto matrix = backend_->LoadMatrix(host);
    cuda_emulator::Configure({.failing = failing});
    try {
      Product(*matrix, ones, 32, 32);
    } catch (const DeviceError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message(""), "no error");
  EXPECT_THAT(message("cudaStreamSynchronize"),
              testing::MatchesRegex("GPU: waiting for .*\\(cudaErrorLaunchFailure\\)"));
  const bool uses_cublas = GetParam() < WeightFormat::kInt8;
  EXPECT_THAT(message("cublasGemmEx"),
              testing::MatchesRegex(uses_cublas ? "GPU: .*: CUBLAS_STATUS_.*" : "no error"));
}

// f16 has no such numbers, and saturating would make another model of the checkpoint.
TEST(CudaBackendF16, RefusesWeightsBeyondItsRange) {
  cuda_emulator::Configure({.lazy_streams = true});
  const auto backend = CreateCudaBackend({WeightFormat::kF16, 0, /*deterministic=*/true});
  const auto message = [&](float weight) -> std::string {
    std::vector<float> w(16 * 16, 1.0f);
    w[37] = weight;
    const HostMatrix host[] = {{w.data(), DType::kF32, 16, 16}};
    try {
      backend->LoadMatrix(host);
    } catch (const DeviceError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message(65504.0f), "no error");
  EXPECT_EQ(message(-65504.0f), "no error");
  EXPECT_EQ(message(1e-30f), "no error");
  EXPECT_EQ(message(std::numeric_limits<float>::quiet_NaN()), "no error");
  for (const float weight : {65505.0f, -1e6f, std::numeric_limits<float>::infinity()}) {
    EXPECT_THAT(message(weight), testing::HasSubstr("beyond 65504, the largest number of f16"));
  }
}

// A checkpoint's f16 weights arrive as they are: a product with one 1 reads a column.
TEST(CudaBackendF16, HoldsF16WeightsExactly) {
  constexpr int64_t kN = 1008;
  constexpr int64_t kK = 64;
  cuda_emulator::Configure({.lazy_streams = true});
  const auto backend = CreateCudaBackend({WeightFormat::kF16, 0, /*deterministic=*/true});
  // Each finite number of f16, at least once.
  std::vector<uint16_t> w(kN * kK);
  for (size_t i = 0; i < w.size(); ++i) {
    w[i] = static_cast<uint16_t>(i % 0x7c00 | (i / 0x7c00 % 2) << 15);
  }
  const HostMatrix host[] = {{w.data(), DType::kF16, kN, kK}};
  const auto matrix = backend->LoadMatrix(host);
  std::vector<uint16_t> ones(kK * kK);
  for (int64_t i = 0; i < kK; ++i) ones[i * kK + i] = F32ToF16(1.0f);
  const Buffer a = backend->Allocate(ones.size() * 2);
  backend->CopyToDevice(a.data(), ones.data(), a.size_bytes());
  const Buffer out = backend->Allocate(kK * kN * sizeof(float));
  const TensorView product = out.View(DType::kF32, kK, kN);
  backend->MatMul(a.View(DType::kF16, kK, kK), *matrix, Backend::Epilogue::kStore, product);
  const float* columns = backend->ReadBack(product);
  for (int64_t i = 0; i < kK; ++i) {
    for (int64_t j = 0; j < kN; ++j) {
      ASSERT_EQ(columns[i * kN + j], F16ToF32(w[j * kK + i])) << "row " << j << " column " << i;
    }
  }
}

std::string FormatName(const testing::TestParamInfo<WeightFormat>& info) {
  return NameOf(info.param);
}
INSTANTIATE_TEST_SUITE_P(All, CudaBackendTest, testing::ValuesIn(kAllWeightFormats), FormatName);

}  // namespace
}  // namespace strata::kernels
