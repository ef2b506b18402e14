// MatMul and GatedMatMul.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "kernels/float_types.h"
#include "tests/kernels/backend_case.h"

namespace strata::kernels {
namespace {

constexpr int kMaxRows = 13;

struct Product {
  double value = 0;
  double error = 0;  // what f32 summation in any order may add
};

// Summing K products in f32 in any order errs by at most K x eps x sum |a w|
// (Higham, Accuracy and Stability, 3.1), and forming each product by one eps more.
Product ExactDot(const float* a, const float* w, int64_t k) {
  Product dot;
  double magnitude = 0;
  for (int64_t i = 0; i < k; ++i) {
    dot.value += double{a[i]} * w[i];
    magnitude += std::abs(double{a[i]} * w[i]);
  }
  dot.error = static_cast<double>(k + 1) * kEpsF32 * magnitude;
  return dot;
}

class MatMul : public BackendTest {
 protected:
  std::unique_ptr<Matrix> Load(const std::vector<float>& w, int64_t n, int64_t k) {
    const HostTensor host(DType::kF32, n, k, w);
    const HostMatrix parts[] = {host.matrix()};
    return backend_->LoadMatrix(parts);
  }
  DeviceTensor Operand(const std::vector<float>& a, int64_t rows, int64_t k) {
    return DeviceTensor(*backend_, backend_->operand_dtype(), rows, k, a);
  }
  std::vector<float> Held(const std::vector<float>& operand, int64_t k) {
    return QuantizesOperands(GetParam()) ? QuantizedOperands(operand, k, weights())
                                         : Rounded(operand, backend_->operand_dtype());
  }
  void ExpectAgreesWithExactProduct(int64_t rows, int64_t n, int64_t k);
};

void MatMul::ExpectAgreesWithExactProduct(int64_t rows, int64_t n, int64_t k) {
  SCOPED_TRACE(testing::Message() << "rows " << rows << " N " << n << " K " << k);
  const std::vector<float> source = RandomValues(n * k, 1);
  const std::vector<float> operand = RandomValues(rows * k, 2);
  const std::vector<float> w = HeldWeights(source, k, weights());
  const std::vector<float> a = Held(operand, k);
  const std::unique_ptr<Matrix> matrix = Load(source, n, k);
  const DeviceTensor out(*backend_, DType::kF32, rows, n);
  backend_->MatMul(Operand(operand, rows, k), *matrix, Backend::Epilogue::kStore, out);
  const std::vector<float> got = out.Values();
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const Product dot = ExactDot(&a[i * k], &w[j * k], k);
      ASSERT_NEAR(got[i * n + j], dot.value, dot.error) << "row " << i << " column " << j;
    }
  }
}

TEST_P(MatMul, AgreesWithExactProductForEveryRowCount) {
  for (int rows = 1; rows <= kMaxRows; ++rows) ExpectAgreesWithExactProduct(rows, 67, 160);
}

TEST_P(MatMul, AgreesWithExactProductForOddShapes) {
  ExpectAgreesWithExactProduct(2, 1505, 160);
  ExpectAgreesWithExactProduct(3, 1, 16);
  ExpectAgreesWithExactProduct(5, 16, 48);
  ExpectAgreesWithExactProduct(4, 64, 1040);  // more than one chunk of widened operands
  ExpectAgreesWithExactProduct(100, 129, 272);
}

// K so large that a tile of rows is smaller than the batch.
TEST_P(MatMul, AgreesWithExactProductAcrossRowTiles) { ExpectAgreesWithExactProduct(60, 3, 32784); }

TEST_P(MatMul, RowResultDoesNotDependOnRowCount) {
  const int64_t n = 1505;
  const int64_t k = 160;
  const std::vector<float> a = RandomValues(kMaxRows * k, 3);
  const std::unique_ptr<Matrix> matrix = Load(RandomValues(n * k, 4), n, k);
  const auto product = [&](const std::vector<float>& rows) {
    const int64_t count = static_cast<int64_t>(rows.size()) / k;
    const DeviceTensor out(*backend_, DType::kF32, count, n);
    backend_->MatMul(Operand(rows, count, k), *matrix, Backend::Epilogue::kStore, out);
    return out.Values();
  };
  const std::vector<float> all = product(a);
  for (int64_t count = 1; count <= kMaxRows; ++count) {
    const std::vector<float> last(a.end() - count * k, a.end());
    const std::vector<float> expected(all.end() - count * n, all.end());
    ASSERT_EQ(product(last), expected) << count << " rows";
  }
}

// K longer than any chunk of a panel, so that sums are parked, and rows for one block and several.
TEST_P(MatMul, LongRowResultDoesNotDependOnRowCount) {
  const int64_t n = 20;
  const int64_t k = 15008;
  const int64_t rows = 25;
  const std::vector<float> a = RandomValues(rows * k, 31);
  const std::unique_ptr<Matrix> matrix = Load(RandomValues(n * k, 32), n, k);
  const auto product = [&](int64_t first, int64_t count) {
    const DeviceTensor out(*backend_, DType::kF32, count, n);
    const std::vector<float> part(a.begin() + first * k, a.begin() + (first + count) * k);
    backend_->MatMul(Operand(part, count, k), *matrix, Backend::Epilogue::kStore, out);
    return out.Values();
  };
  const std::vector<float> all = product(0, rows);
  for (const int64_t count : {1, 2, 5, 9, 24}) {
    const int64_t first = rows - count;
    const std::vector<float> expected(all.begin() + first * n, all.end());
    ASSERT_EQ(product(first, count), expected) << count << " rows";
  }
}

TEST_P(MatMul, RowResultDoesNotDependOnOrder) {
  const int64_t n = 200;
  const int64_t k = 304;
  const std::vector<float> a = RandomValues(kMaxRows * k, 5);
  const std::unique_ptr<Matrix> matrix = Load(RandomValues(n * k, 6), n, k);
  std::vector<int> order(kMaxRows);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(7));
  std::vector<float> shuffled;
  for (const int row : order) {
    shuffled.insert(shuffled.end(), a.begin() + row * k, a.begin() + (row + 1) * k);
  }
  const DeviceTensor straight_out(*backend_, DType::kF32, kMaxRows, n);
  const DeviceTensor shuffled_out(*backend_, DType::kF32, kMaxRows, n);
  backend_->MatMul(Operand(a, kMaxRows, k), *matrix, Backend::Epilogue::kStore, straight_out);
  backend_->MatMul(Operand(shuffled, kMaxRows, k), *matrix, Backend::Epilogue::kStore,
                   shuffled_out);
  for (int i = 0; i < kMaxRows; ++i) EXPECT_EQ(shuffled_out.Row(i), straight_out.Row(order[i]));
}

TEST_P(MatMul, ResultDoesNotDependOnThreads) {
  const int64_t n = 1505;
  const int64_t k = 160;
  std::vector<float> expected;
  for (const int threads : kThreadCounts) {
    backend_ = GetParam().Create(threads);
    const std::unique_ptr<Matrix> matrix = Load(RandomValues(n * k, 8), n, k);
    const DeviceTensor out(*backend_, DType::kF32, 7, n);
    backend_->MatMul(Operand(RandomValues(7 * k, 9), 7, k), *matrix, Backend::Epilogue::kStore,
                     out);
    if (expected.empty()) expected = out.Values();
    EXPECT_EQ(out.Values(), expected) << threads << " threads";
  }
}

TEST_P(MatMul, AddEpilogueAddsTheSameProduct) {
  const int64_t n = 131;
  const int64_t k = 64;
  const std::vector<float> residual = RandomValues(4 * n, 10);
  const std::unique_ptr<Matrix> matrix = Load(RandomValues(n * k, 11), n, k);
  const DeviceTensor a = Operand(RandomValues(4 * k, 12), 4, k);
  const DeviceTensor product(*backend_, DType::kF32, 4, n);
  const DeviceTensor sum(*backend_, DType::kF32, 4, n, residual);
  backend_->MatMul(a, *matrix, Backend::Epilogue::kStore, product);
  backend_->MatMul(a, *matrix, Backend::Epilogue::kAdd, sum);
  std::vector<float> expected = product.Values();
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = residual[i] + expected[i];
  EXPECT_EQ(sum.Values(), expected);
}

TEST_P(MatMul, PartsOfEverySourceTypeConcatenate) {
  const int64_t k = 48;
  // Multiples of 2^-7 below 1: exact in f32, f16 and bf16.
  std::vector<float> w = RandomValues(90 * k, 13);
  for (float& value : w) value = std::trunc(value * 128) / 128;
  const std::unique_ptr<Matrix> whole = Load(w, 90, k);
  const auto rows = [&](int64_t first, int64_t end) {
    return std::vector<float>(w.begin() + first * k, w.begin() + end * k);
  };
  const HostTensor f32(DType::kF32, 33, k, rows(0, 33));
  const HostTensor f16(DType::kF16, 40, k, rows(33, 73));
  const HostTensor bf16(DType::kBF16, 17, k, rows(73, 90));
  const HostMatrix parts[] = {f32.matrix(), f16.matrix(), bf16.matrix()};
  const std::unique_ptr<Matrix> joined = backend_->LoadMatrix(parts);
  const DeviceTensor a = Operand(RandomValues(3 * k, 14), 3, k);
  const DeviceTensor expected(*backend_, DType::kF32, 3, 90);
  const DeviceTensor got(*backend_, DType::kF32, 3, 90);
  backend_->MatMul(a, *whole, Backend::Epilogue::kStore, expected);
  backend_->MatMul(a, *joined, Backend::Epilogue::kStore, got);
  EXPECT_EQ(got.Values(), expected.Values());
  EXPECT_EQ(joined->size_bytes(), whole->size_bytes());
}

TEST_P(MatMul, WritesNothingBeyondItsColumns) {
  const int64_t k = 32;
  for (const int64_t n : {1, 15, 17, 63, 65}) {
    const std::unique_ptr<Matrix> matrix = Load(RandomValues(n * k, 15), n, k);
    const DeviceTensor guarded(*backend_, DType::kF32, 1, 2 * n + 128,
                               std::vector<float>(2 * n + 128, 42.0f));
    const TensorView out = {guarded.view().as<float>(), DType::kF32, 2, n};
    backend_->MatMul(Operand(RandomValues(2 * k, 16), 2, k), *matrix, Backend::Epilogue::kStore,
                     out);
    const std::vector<float> values = guarded.Values();
    EXPECT_EQ(std::vector<float>(values.begin() + 2 * n, values.end()),
              std::vector<float>(128, 42.0f));
  }
}

TEST_P(MatMul, NanStaysInItsRow) {
  const int64_t n = 70;
  const int64_t k = 64;
  std::vector<float> a = RandomValues(7 * k, 17);
  const std::unique_ptr<Matrix> matrix = Load(RandomValues(n * k, 18), n, k);
  const DeviceTensor clean(*backend_, DType::kF32, 7, n);
  const DeviceTensor dirty(*backend_, DType::kF32, 7, n);
  backend_->MatMul(Operand(a, 7, k), *matrix, Backend::Epilogue::kStore, clean);
  a[3 * k + 5] = std::numeric_limits<float>::quiet_NaN();
  backend_->MatMul(Operand(a, 7, k), *matrix, Backend::Epilogue::kStore, dirty);
  for (int i = 0; i < 7; ++i) {
    if (i != 3) {
      EXPECT_EQ(dirty.Row(i), clean.Row(i));
    } else {
      for (const float value : dirty.Row(i)) EXPECT_TRUE(std::isnan(value));
    }
  }
}

TEST_P(MatMul, SelectedRowsGiveTheSameColumns) {
  const int64_t n = 1505;
  for (const int64_t k : {16, 160, 1040}) {
    const std::unique_ptr<Matrix> whole = Load(RandomValues(n * k, 29), n, k);
    const DeviceTensor a = Operand(RandomValues(kMaxRows * k, 30), kMaxRows, k);
    const DeviceTensor all(*backend_, DType::kF32, kMaxRows, n);
    backend_->MatMul(a, *whole, Backend::Epilogue::kStore, all);
    const std::vector<float> expected = all.Values();
    // Any order, and some twice; whole panels, less, and more.
    std::mt19937 random(31);
    for (const int64_t count : {1, 15, 16, 64, 65, 333, 2000}) {
      std::vector<int32_t> rows(count);
      for (int32_t& row : rows) row = static_cast<int32_t>(random() % n);
      rows.front() = static_cast<int32_t>(n) - 1;
      const std::unique_ptr<Matrix> selection = backend_->SelectRows(*whole, rows);
      const DeviceTensor some(*backend_, DType::kF32, kMaxRows, count);
      backend_->MatMul(a, *selection, Backend::Epilogue::kStore, some);
      const std::vector<float> got = some.Values();
      for (int64_t i = 0; i < kMaxRows; ++i) {
        for (int64_t j = 0; j < count; ++j) {
          ASSERT_EQ(got[i * count + j], expected[i * n + rows[j]])
              << "K " << k << ", " << count << " rows of weights, row " << i << " column " << j;
        }
      }
    }
  }
}

TEST_P(MatMul, ASelectionCanBeSelectedFromAndOutlivesItsSource) {
  const int64_t n = 200;
  const int64_t k = 48;
  std::unique_ptr<Matrix> whole = Load(RandomValues(n * k, 32), n, k);
  const DeviceTensor a = Operand(RandomValues(2 * k, 33), 2, k);
  const DeviceTensor all(*backend_, DType::kF32, 2, n);
  backend_->MatMul(a, *whole, Backend::Epilogue::kStore, all);
  std::vector<int32_t> odd;
  for (int32_t row = 1; row < n; row += 2) odd.push_back(row);
  std::unique_ptr<Matrix> selection = backend_->SelectRows(*whole, odd);
  EXPECT_LT(selection->size_bytes(), whole->size_bytes());
  whole.reset();
  selection = backend_->SelectRows(*selection, std::vector<int32_t>{99, 0});
  const DeviceTensor some(*backend_, DType::kF32, 2, 2);
  backend_->MatMul(a, *selection, Backend::Epilogue::kStore, some);
  const std::vector<float> expected = all.Values();
  EXPECT_EQ(some.Values(),
            (std::vector<float>{expected[199], expected[1], expected[n + 199], expected[n + 1]}));
}

TEST_P(MatMul, NoRowsIsNoWork) {
  const std::unique_ptr<Matrix> matrix = Load(RandomValues(64 * 16, 19), 64, 16);
  const DeviceTensor out(*backend_, DType::kF32, 0, 64);
  backend_->MatMul(Operand({}, 0, 16), *matrix, Backend::Epilogue::kStore, out);
  EXPECT_TRUE(out.Values().empty());
}

STRATA_FOR_ALL_BACKENDS(MatMul);

class GatedMatMul : public MatMul {
 protected:
  std::unique_ptr<Matrix> LoadGated(const std::vector<float>& gate, const std::vector<float>& up,
                                    int64_t n, int64_t k) {
    const HostTensor gate_host(DType::kF32, n, k, gate);
    const HostTensor up_host(DType::kF32, n, k, up);
    return backend_->LoadGatedMatrix(gate_host.matrix(), up_host.matrix());
  }
  DeviceTensor Out(int64_t rows, int64_t n) {
    return DeviceTensor(*backend_, backend_->operand_dtype(), rows, n);
  }
};

double Silu(double x) { return x / (1 + std::exp(-x)); }

TEST_P(GatedMatMul, AgreesWithExactProduct) {
  for (const auto& [rows, n, k] : {std::tuple<int64_t, int64_t, int64_t>{1, 33, 160},
                                   {6, 301, 160},
                                   {13, 64, 528},
                                   {3, 5, 16}}) {
    const std::vector<float> gate_source = RandomValues(n * k, 20);
    const std::vector<float> up_source = RandomValues(n * k, 21);
    const std::vector<float> operand = RandomValues(rows * k, 22);
    const std::vector<float> gate = HeldWeights(gate_source, k, weights());
    const std::vector<float> up = HeldWeights(up_source, k, weights());
    const std::vector<float> a = Held(operand, k);
    const std::unique_ptr<Matrix> matrix = LoadGated(gate_source, up_source, n, k);
    const DeviceTensor out = Out(rows, n);
    backend_->GatedMatMul(Operand(operand, rows, k), *matrix, out);
    const std::vector<float> got = out.Values();
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        const Product g = ExactDot(&a[i * k], &gate[j * k], k);
        const Product u = ExactDot(&a[i * k], &up[j * k], k);
        const double expected = Silu(g.value) * u.value;
        // |silu'| < 1.1; five operations in all (see below) and the write.
        const double tolerance =
            1.1 * g.error * (std::abs(u.value) + u.error) + std::abs(Silu(g.value)) * u.error +
            std::abs(expected) * 5 * kEpsF32 + WriteError(out.view().dtype, expected);
        ASSERT_NEAR(got[i * n + j], expected, tolerance) << "row " << i << " column " << j;
      }
    }
  }
}

// One row of weights per gate value: gate and up see the operand (1, 0, 0, ...).
TEST_P(GatedMatMul, SiluIsAccurateOverItsWholeRange) {
  const int64_t k = 16;
  std::vector<float> gates;
  for (int i = -3100; i <= 3100; ++i) gates.push_back(static_cast<float>(i) / 41);
  const int64_t n = static_cast<int64_t>(gates.size());
  std::vector<float> gate(n * k);
  std::vector<float> up(n * k);
  for (int64_t j = 0; j < n; ++j) {
    gate[j * k] = gates[j];
    up[j * k] = 1.0f;
  }
  std::vector<float> a(k);
  a[0] = 1.0f;
  const std::unique_ptr<Matrix> matrix = LoadGated(gate, up, n, k);
  gate = HeldWeights(gate, k, weights());
  up = HeldWeights(up, k, weights());
  const DeviceTensor out = Out(1, n);
  backend_->GatedMatMul(Operand(a, 1, k), *matrix, out);
  const std::vector<float> got = out.Values();
  for (int64_t j = 0; j < n; ++j) {
    const Product g = ExactDot(a.data(), &gate[j * k], k);
    const double expected = Silu(g.value) * up[j * k];
    // The product may be off itself if it is quantised; |silu'| < 1.1. exp is
    // good to 2 eps here; negation is exact, then an addition, a division, a
    // product and the write.
    const double product_error =
        weights() < WeightFormat::kInt8 ? 0 : 1.1 * 4 * kEpsF32 * std::abs(g.value);
    ASSERT_NEAR(
        got[j], expected,
        std::abs(expected) * 9 * kEpsF32 + WriteError(out.view().dtype, expected) + product_error)
        << "silu(" << gate[j * k] << ")";
  }
}

TEST_P(GatedMatMul, ExtremeGatesSaturate) {
  const int64_t k = 16;
  const float large = weights() == WeightFormat::kF16 ? 6e4f : 1e6f;
  std::vector<float> gate(3 * k);
  const std::vector<float> up(3 * k, 1.0f / 16);
  for (int64_t i = 0; i < k; ++i) {
    gate[i] = large;
    gate[k + i] = -large;
  }
  gate[2 * k] = std::numeric_limits<float>::quiet_NaN();
  const std::unique_ptr<Matrix> matrix = LoadGated(gate, up, 3, k);
  const DeviceTensor out = Out(1, 3);
  backend_->GatedMatMul(Operand(std::vector<float>(k, 1.0f), 1, k), *matrix, out);
  const std::vector<float> got = out.Values();
  if (out.view().dtype == DType::kF16) {
    EXPECT_EQ(got[0], 65504);
  } else {
    EXPECT_NEAR(got[0], 1.6e7, 1.6e7 * kEpsBf16 * 2);
  }
  EXPECT_NEAR(got[1], 0, 1e-30);
  EXPECT_TRUE(std::isnan(got[2]));
}

TEST_P(GatedMatMul, ResultDoesNotDependOnRowCountOrThreads) {
  const int64_t n = 301;
  const int64_t k = 160;
  std::vector<float> expected;
  for (const int threads : kThreadCounts) {
    backend_ = GetParam().Create(threads);
    const std::unique_ptr<Matrix> matrix =
        LoadGated(RandomValues(n * k, 23), RandomValues(n * k, 24), n, k);
    const std::vector<float> a = RandomValues(kMaxRows * k, 25);
    const DeviceTensor all = Out(kMaxRows, n);
    backend_->GatedMatMul(Operand(a, kMaxRows, k), *matrix, all);
    if (expected.empty()) expected = all.Values();
    ASSERT_EQ(all.Values(), expected) << threads << " threads";
    for (int64_t i = 0; i < kMaxRows; ++i) {
      const DeviceTensor one = Out(1, n);
      backend_->GatedMatMul(Operand({a.begin() + i * k, a.begin() + (i + 1) * k}, 1, k), *matrix,
                            one);
      ASSERT_EQ(one.Values(), all.Row(i)) << "row " << i;
    }
  }
}

// The same weights in every column: lanes, tails and panels must not differ.
TEST_P(GatedMatMul, ResultDoesNotDependOnColumn) {
  const int64_t n = 77;
  const int64_t k = 32;
  const std::vector<float> row = RandomValues(k, 26);
  std::vector<float> w;
  for (int64_t j = 0; j < n; ++j) w.insert(w.end(), row.begin(), row.end());
  const std::unique_ptr<Matrix> matrix = LoadGated(w, w, n, k);
  const DeviceTensor out = Out(1, n);
  backend_->GatedMatMul(Operand(RandomValues(k, 27), 1, k), *matrix, out);
  const std::vector<float> got = out.Values();
  EXPECT_EQ(got, std::vector<float>(n, got[0]));
}

STRATA_FOR_ALL_BACKENDS(GatedMatMul);

}  // namespace
}  // namespace strata::kernels
