// Products of many rows, which only a CPU computes fast enough for a test: on
// emulated GPUs it would take minutes.

#include <algorithm>

#include "tests/kernels/backend_case.h"

namespace strata::kernels {
namespace {

class ManyRows : public BackendTest {
 protected:
  static constexpr int64_t kRows = 290;
  static constexpr int64_t kN = 700;  // more panels than any kernel takes at once
  static constexpr int64_t kK = 560;

  // The last `count` of the rows.
  DeviceTensor Operand(int64_t count) {
    return DeviceTensor(*backend_, backend_->operand_dtype(), count, kK,
                        {a_.end() - count * kK, a_.end()});
  }
  // Whether `part` is what `all` ends with.
  static void ExpectEnd(const std::vector<float>& all, const std::vector<float>& part) {
    ASSERT_TRUE(std::equal(part.rbegin(), part.rend(), all.rbegin()));
  }

  const std::vector<float> a_ = RandomValues(kRows * kK, 33);
  const HostTensor w_{DType::kBF16, kN, kK, RandomValues(kN* kK, 34)};
  const HostTensor up_{DType::kBF16, kN, kK, RandomValues(kN* kK, 35)};
  // From one row to several tiles of rows.
  static constexpr int kCounts[] = {1, 3, 15, 16, 17, 31, 32, 33, 47, 64, 100, 255, 256, 257};
};

TEST_P(ManyRows, RowOfAProductDoesNotDependOnThem) {
  const std::vector<HostMatrix> parts = {w_.matrix()};
  const std::unique_ptr<Matrix> matrix = backend_->LoadMatrix(parts);
  const auto product = [&](int64_t count, Backend::Epilogue epilogue) {
    const DeviceTensor out(*backend_, DType::kF32, count, kN, std::vector<float>(count * kN, 0.5f));
    backend_->MatMul(Operand(count), *matrix, epilogue, out);
    return out.Values();
  };
  for (const auto epilogue : {Backend::Epilogue::kStore, Backend::Epilogue::kAdd}) {
    const std::vector<float> all = product(kRows, epilogue);
    for (const int count : kCounts) {
      SCOPED_TRACE(count);
      ExpectEnd(all, product(count, epilogue));
    }
  }
}

TEST_P(ManyRows, RowOfAGatedProductDoesNotDependOnThem) {
  const std::unique_ptr<Matrix> matrix = backend_->LoadGatedMatrix(w_.matrix(), up_.matrix());
  const auto product = [&](int64_t count) {
    const DeviceTensor out(*backend_, backend_->operand_dtype(), count, kN);
    backend_->GatedMatMul(Operand(count), *matrix, out);
    return out.Values();
  };
  const std::vector<float> all = product(kRows);
  for (const int count : kCounts) {
    SCOPED_TRACE(count);
    ExpectEnd(all, product(count));
  }
}

STRATA_FOR_ALL_BACKENDS(ManyRows);

}  // namespace
}  // namespace strata::kernels
