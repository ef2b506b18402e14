// Packed matrices as bytes.

#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "tests/kernels/backend_case.h"

namespace strata::kernels {
namespace {

constexpr int64_t kRows = 77;  // no multiple of any panel's columns
constexpr int64_t kCols = 176;

class PackedWeightsTest : public BackendTest {
 protected:
  std::unique_ptr<Matrix> Pack(bool gated) {
    if (!gated) return backend_->LoadMatrix(std::vector{gate_.matrix()});
    return backend_->LoadGatedMatrix(gate_.matrix(), up_.matrix());
  }
  static MatrixShape Shape(bool gated) { return {kRows, kCols, gated}; }
  std::vector<float> Product(const Matrix& matrix, bool gated) {
    const DType dtype = backend_->operand_dtype();
    const DeviceTensor a(*backend_, dtype, 3, kCols, RandomValues(3 * kCols, 3));
    const DeviceTensor out(*backend_, gated ? dtype : DType::kF32, 3, kRows);
    if (gated) {
      backend_->GatedMatMul(a, matrix, out);
    } else {
      backend_->MatMul(a, matrix, Backend::Epilogue::kStore, out);
    }
    return out.Values();
  }

  const HostTensor gate_{DType::kBF16, kRows, kCols, RandomValues(kRows* kCols, 1)};
  const HostTensor up_{DType::kBF16, kRows, kCols, RandomValues(kRows* kCols, 2)};
};

// A reader of `bytes`.
PackedWeights::ReadBytes From(std::span<const std::byte> bytes) {
  return [bytes](int64_t offset, std::span<std::byte> out) {
    if (offset < 0 || bytes.size() < offset + out.size()) return false;
    std::memcpy(out.data(), bytes.data() + offset, out.size());
    return true;
  };
}

TEST_P(PackedWeightsTest, AreThereWhereTheyShouldBe) {
  EXPECT_EQ(backend_->packed_weights() != nullptr, CanPackWeights(GetParam()));
}

TEST_P(PackedWeightsTest, LoadedBytesComputeTheSame) {
  PackedWeights* weights = backend_->packed_weights();
  if (weights == nullptr) return;
  EXPECT_EQ(weights->format(), GetParam().weights);
  for (const bool gated : {false, true}) {
    const std::unique_ptr<Matrix> packed = Pack(gated);
    const std::span<const std::byte> bytes = weights->Bytes(*packed);
    EXPECT_EQ(bytes.size(), packed->size_bytes());
    EXPECT_EQ(static_cast<int64_t>(bytes.size()), weights->SizeBytes(Shape(gated)));
    const std::unique_ptr<Matrix> loaded = weights->Load(Shape(gated), From(bytes));
    ASSERT_NE(loaded, nullptr);
    EXPECT_EQ(loaded->size_bytes(), packed->size_bytes());
    EXPECT_EQ(Product(*loaded, gated), Product(*packed, gated));
  }
}

TEST_P(PackedWeightsTest, AFailedReadGivesNothing) {
  PackedWeights* weights = backend_->packed_weights();
  if (weights == nullptr) return;
  const std::unique_ptr<Matrix> packed = Pack(false);
  const std::span<const std::byte> bytes = weights->Bytes(*packed);
  EXPECT_EQ(weights->Load(Shape(false), From(bytes.first(bytes.size() - 1))), nullptr);
}

STRATA_FOR_ALL_BACKENDS(PackedWeightsTest);

uint64_t Fnv1a(std::span<const std::byte> bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001b3;
  return hash;
}

// What has been saved with a layout's name must mean the same for ever. If this fails, the bytes
// of panels have changed: raise kLayoutRevision in packed_matrix.cc, and note the new hashes here.
TEST(PackedWeightsLayout, BytesBelongToTheName) {
  const std::map<std::string, std::pair<uint64_t, uint64_t>> hashes = {
      {"bf16 panels of 16 columns, revision 1", {0x149e123369f9d747, 0xa9c8b6b4744e065d}},
      {"bf16 panels of 64 columns, revision 1", {0x80e271c100cae0c3, 0xc565a116031ba7c9}},
      {"f32 panels of 16 columns, revision 1", {0x41d1949b36b6c923, 0xfcce8657f1208d35}},
      {"f32 panels of 64 columns, revision 1", {0x633f6a54d59897d3, 0x465d9545c0ae34f9}},
      {"int4 panels of 16 columns, revision 1", {0x48131f08188ba196, 0x8e54e0b20d397c3e}},
      {"int4 panels of 64 columns, revision 1", {0xc343a199f978fb9e, 0x85649ebef185bdb2}},
      {"int8 panels of 16 columns, revision 1", {0xe8c946c7d3cfd392, 0x7164713fc975a4fb}},
      {"int8 panels of 64 columns, revision 1", {0xe3f8c4c1d2ec208a, 0xdab6c79ad3c45097}},
  };
  const HostTensor gate(DType::kBF16, kRows, kCols, RandomValues(kRows * kCols, 1));
  const HostTensor up(DType::kBF16, kRows, kCols, RandomValues(kRows * kCols, 2));
  for (const BackendCase& c : AllBackendCases()) {
    const std::unique_ptr<Backend> backend = c.Create();
    PackedWeights* weights = backend->packed_weights();
    if (weights == nullptr) continue;
    const auto plain = backend->LoadMatrix(std::vector{gate.matrix()});
    const auto gated = backend->LoadGatedMatrix(gate.matrix(), up.matrix());
    const std::pair got(Fnv1a(weights->Bytes(*plain)), Fnv1a(weights->Bytes(*gated)));
    const auto expected = hashes.find(weights->layout());
    if (expected == hashes.end()) {
      ADD_FAILURE() << c.Name() << " is new: {\"" << weights->layout() << "\", {0x" << std::hex
                    << got.first << ", 0x" << got.second << "}},";
      continue;
    }
    EXPECT_EQ(got, expected->second) << c.Name();
  }
}

}  // namespace
}  // namespace strata::kernels
