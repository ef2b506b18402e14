// RmsNorm, Embed, GatherRows, ScatterRows, ReadBack and memory.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/kernels/backend_case.h"

namespace strata::kernels {
namespace {

class RmsNorm : public BackendTest {
 protected:
  std::vector<float> Run(const std::vector<float>& x, const std::vector<float>& weight, float eps,
                         int64_t rows) {
    const int64_t hidden = static_cast<int64_t>(weight.size());
    const DeviceTensor in(*backend_, DType::kF32, rows, hidden, x);
    const DeviceTensor scale(*backend_, DType::kF32, 1, hidden, weight);
    const DeviceTensor out(*backend_, backend_->operand_dtype(), rows, hidden);
    backend_->RmsNorm(in, scale.view().as<float>(), eps, out);
    return out.Values();
  }
};

TEST_P(RmsNorm, AgreesWithDefinition) {
  constexpr float kEps = 1e-5f;
  for (const int64_t hidden : {16, 48, 160, 2048}) {
    const int64_t rows = 5;
    const std::vector<float> x = RandomValues(rows * hidden, 1);
    const std::vector<float> weight = RandomValues(hidden, 2);
    const std::vector<float> got = Run(x, weight, kEps, rows);
    for (int64_t i = 0; i < rows; ++i) {
      double squares = 0;
      for (int64_t j = 0; j < hidden; ++j) squares += double{x[i * hidden + j]} * x[i * hidden + j];
      const double scale = 1 / std::sqrt(squares / static_cast<double>(hidden) + double{kEps});
      for (int64_t j = 0; j < hidden; ++j) {
        const double expected = x[i * hidden + j] * scale * weight[j];
        // The sum of squares errs by hidden x eps relatively, of which the
        // root leaves half; then six roundings and the write.
        const double relative = (static_cast<double>(hidden) / 2 + 6) * kEpsF32;
        ASSERT_NEAR(
            got[i * hidden + j], expected,
            relative * std::abs(expected) + WriteError(backend_->operand_dtype(), expected));
      }
    }
  }
}

TEST_P(RmsNorm, ZeroRowGivesZero) {
  EXPECT_EQ(Run(std::vector<float>(64), RandomValues(64, 3), 1e-6f, 1), std::vector<float>(64));
}

TEST_P(RmsNorm, ResultDoesNotDependOnRowCountOrThreads) {
  constexpr int64_t kHidden = 1040;
  constexpr int64_t kRows = 23;
  const std::vector<float> x = RandomValues(kRows * kHidden, 4);
  const std::vector<float> weight = RandomValues(kHidden, 5);
  std::vector<float> expected;
  for (const int threads : kThreadCounts) {
    backend_ = GetParam().Create(threads);
    const std::vector<float> all = Run(x, weight, 1e-5f, kRows);
    if (expected.empty()) expected = all;
    ASSERT_EQ(all, expected) << threads << " threads";
  }
  for (int64_t i = 0; i < kRows; ++i) {
    const std::vector<float> one =
        Run({x.begin() + i * kHidden, x.begin() + (i + 1) * kHidden}, weight, 1e-5f, 1);
    ASSERT_TRUE(std::equal(one.begin(), one.end(), expected.begin() + i * kHidden)) << "row " << i;
  }
}

// What lies exactly between two bf16 or f16 values goes to the even one; f16 saturates.
TEST_P(RmsNorm, WritesOperandsRoundedToNearestEven) {
  // A row of ones has mean square 1, so with eps 0 the output is the weight.
  std::vector<float> weight(16, 1.0f);
  weight[1] = 1.0f + 0x1p-8f;             // tie between 1 and 1 + 2^-7: to 1
  weight[2] = 1.0f + 0x3p-8f;             // tie: to 1 + 2^-6
  weight[3] = 1.0f + 0x1p-8f + 0x1p-20f;  // above the tie
  weight[4] = -(1.0f + 0x1p-8f);
  weight[5] = 1.0f + 0x1p-11f;             // tie between 1 and 1 + 2^-10: to 1
  weight[6] = 1.0f + 0x3p-11f;             // tie: to 1 + 2^-9
  weight[7] = 1.0f + 0x1p-11f + 0x1p-20f;  // above the tie
  weight[8] = 0x3p-25f;                    // tie of f16's subnormals: to 2^-23
  weight[9] = 65519.0f;                    // f16 would round it to its largest number,
  weight[10] = -65520.0f;                  // and this one to infinity
  weight[11] = 1e30f;
  const std::vector<float> got = Run(std::vector<float>(16, 1.0f), weight, 0.0f, 1);
  EXPECT_EQ(got, Rounded(weight, backend_->operand_dtype()));
  if (backend_->operand_dtype() == DType::kBF16) {
    EXPECT_EQ(got[1], 1.0f);
    EXPECT_EQ(got[2], 1.0f + 0x1p-6f);
    EXPECT_EQ(got[3], 1.0f + 0x1p-7f);
    EXPECT_EQ(got[4], -1.0f);
  } else if (backend_->operand_dtype() == DType::kF16) {
    EXPECT_EQ(got[5], 1.0f);
    EXPECT_EQ(got[6], 1.0f + 0x1p-9f);
    EXPECT_EQ(got[7], 1.0f + 0x1p-10f);
    EXPECT_EQ(got[8], 0x1p-23f);
    EXPECT_EQ(got[9], 65504.0f);
    EXPECT_EQ(got[10], -65504.0f);
    EXPECT_EQ(got[11], 65504.0f);
  }
}

TEST_P(RmsNorm, NanStaysNan) {
  std::vector<float> x(32, 1.0f);
  x[7] = std::numeric_limits<float>::quiet_NaN();
  for (const float value : Run(x, std::vector<float>(32, 1.0f), 1e-5f, 1)) {
    EXPECT_TRUE(std::isnan(value));
  }
}

STRATA_FOR_ALL_BACKENDS(RmsNorm);

class RowOps : public BackendTest {};

TEST_P(RowOps, EmbedConvertsEverySourceTypeExactly) {
  constexpr int64_t kHidden = 48;
  constexpr int64_t kVocabulary = 300;
  std::vector<float> values = RandomValues(kVocabulary * kHidden, 6);
  for (float& value : values) value = std::trunc(value * 128) / 128;  // exact in all types
  const std::vector<int32_t> tokens = {299, 0, -1, 17, 254};
  const std::vector<int32_t> zeros(tokens.size());
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const HostTensor table(dtype, kVocabulary, kHidden, values);
    const std::unique_ptr<EmbeddingTable> embedding = backend_->LoadEmbedding(table.matrix());
    backend_->BeginBatch({tokens, zeros, zeros, std::vector<int32_t>{0}, 1});
    // Fewer rows than the batch has: the first ones.
    const DeviceTensor x(*backend_, DType::kF32, 4, kHidden, RandomValues(4 * kHidden, 5));
    backend_->Embed(*embedding, x);
    for (int i = 0; i < 4; ++i) {
      std::vector<float> expected(kHidden, 0.0f);
      if (tokens[i] >= 0)
        std::copy_n(values.begin() + tokens[i] * kHidden, kHidden, expected.begin());
      EXPECT_EQ(x.Row(i), expected) << NameOf(dtype);
    }
  }
}

TEST_P(RowOps, GatherAndScatterMoveWholeRows) {
  const std::vector<float> values = RandomValues(9 * 33, 7);
  const DeviceTensor src(*backend_, DType::kF32, 9, 33, values);
  const DeviceTensor gathered(*backend_, DType::kF32, 4, 33);
  const std::vector<int32_t> from = {8, 2, 2, 0};
  backend_->GatherRows(src, from, gathered);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(gathered.Row(i), src.Row(from[i]));

  const DeviceTensor dst(*backend_, DType::kF32, 9, 33, values);
  const std::vector<int32_t> to = {5, 0, 8, 3};
  backend_->ScatterRows(gathered, to, dst);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(dst.Row(to[i]), gathered.Row(i));
  for (const int untouched : {1, 2, 4, 6, 7}) EXPECT_EQ(dst.Row(untouched), src.Row(untouched));
}

TEST_P(RowOps, ReadBackReturnsTheElements) {
  const std::vector<float> values = RandomValues(3 * 20, 8);
  const DeviceTensor x(*backend_, DType::kF32, 3, 20, values);
  const float* host = backend_->ReadBack(x.view().Rows(1, 2));
  EXPECT_EQ(std::vector<float>(host, host + 40),
            std::vector<float>(values.begin() + 20, values.end()));
}

TEST_P(RowOps, AllocatedMemoryIsZeroAndAligned) {
  for (const size_t size : {size_t{1}, size_t{63}, size_t{4096}, size_t{9} << 20}) {
    const Buffer buffer = backend_->Allocate(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    EXPECT_EQ(buffer.size_bytes(), size);
    const int64_t count = static_cast<int64_t>(size / sizeof(float));
    const float* values = backend_->ReadBack(buffer.View(DType::kF32, 1, count));
    EXPECT_TRUE(std::all_of(values, values + count, [](float value) {
      return std::bit_cast<uint32_t>(value) == 0;
    })) << size;
  }
}

TEST_P(RowOps, ImpossibleAllocationThrowsDeviceError) {
  EXPECT_THROW(backend_->Allocate(size_t{1} << 60), DeviceError);
  EXPECT_THROW(backend_->Allocate(SIZE_MAX), DeviceError);
}

STRATA_FOR_ALL_BACKENDS(RowOps);

}  // namespace
}  // namespace strata::kernels
