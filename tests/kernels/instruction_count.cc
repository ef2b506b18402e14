// Runs the hot operations once each, on one thread and the AVX2 kernels, which
// valgrind can run. Under callgrind each operation's instructions are dumped
// under its name; instruction_budget.py compares them with the budget.

#include <valgrind/callgrind.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_backend.h"

namespace strata::kernels {
namespace {

constexpr int64_t kK = 1024;
constexpr int64_t kN = 256;
constexpr int kContext = 512;

template <typename Operation>
void Count(const std::string& name, const Operation& operation) {
  operation();  // what is allocated once is not counted
  CALLGRIND_ZERO_STATS;
  CALLGRIND_TOGGLE_COLLECT;
  operation();
  CALLGRIND_TOGGLE_COLLECT;
  CALLGRIND_DUMP_STATS_AT(name.c_str());
}

// A tensor of small values that repeat.
class Tensor {
 public:
  Tensor(Backend& backend, DType dtype, int64_t rows, int64_t cols)
      : buffer_(backend.Allocate(rows * cols * SizeOf(dtype))),
        view_(buffer_.View(dtype, rows, cols)) {
    std::vector<float> values(rows * cols);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 61) / 64 - 0.5f;
    if (dtype == DType::kF32) {
      backend.CopyToDevice(buffer_.data(), values.data(), values.size() * sizeof(float));
    }
  }
  TensorView view() const { return view_; }

 private:
  Buffer buffer_;
  TensorView view_;
};

void CountProducts(WeightFormat weights) {
  const auto backend = CreateCpuBackend({weights, 1, "avx2"});
  std::vector<float> values(kN * kK);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 253) / 256 - 0.5f;
  const HostMatrix source{values.data(), DType::kF32, kN, kK};
  const auto matrix = backend->LoadMatrix(std::span(&source, 1));
  const auto gated = backend->LoadGatedMatrix(source, source);
  const std::string prefix = NameOf(weights);
  for (const int rows : {1, 5, 48}) {
    const Tensor a(*backend, backend->operand_dtype(), rows, kK);
    const Tensor out(*backend, DType::kF32, rows, kN);
    Count(prefix + "_mat_mul_" + std::to_string(rows),
          [&] { backend->MatMul(a.view(), *matrix, Backend::Epilogue::kStore, out.view()); });
  }
  const Tensor a(*backend, backend->operand_dtype(), 1, kK);
  const Tensor out(*backend, backend->operand_dtype(), 1, kN);
  Count(prefix + "_gated_mat_mul_1", [&] { backend->GatedMatMul(a.view(), *gated, out.view()); });
}

// One sequence behind kContext tokens.
void CountAttention() {
  const auto backend = CreateCpuBackend({WeightFormat::kBF16, 1, "avx2"});
  const AttentionShape shape{8, 2, 64};
  const int num_blocks = kContext / kKvBlockTokens;
  const auto kv = backend->CreateKvCache({1, shape.num_kv_heads, shape.head_dim, num_blocks});
  std::vector<int32_t> blocks(num_blocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  const int64_t qkv_dim = int64_t{shape.num_heads + 2 * shape.num_kv_heads} * shape.head_dim;
  const Tensor angles(*backend, DType::kF32, kContext, shape.head_dim / 2);
  const RopeTable rope{angles.view().as<float>(), angles.view().as<float>()};
  for (const int rows : {1, 5, 64}) {
    std::vector<int32_t> positions(rows);
    std::iota(positions.begin(), positions.end(), kContext - rows);
    const std::vector<int32_t> zeros(rows);
    backend->BeginBatch({zeros, positions, zeros, blocks, num_blocks});
    const Tensor qkv(*backend, DType::kF32, rows, qkv_dim);
    const Tensor out(*backend, backend->operand_dtype(), rows,
                     int64_t{shape.num_heads} * shape.head_dim);
    const std::string suffix = "_" + std::to_string(rows);
    Count("rope_and_append_kv" + suffix,
          [&] { backend->RopeAndAppendKv(qkv.view(), shape, rope, *kv, 0); });
    Count("paged_attention" + suffix,
          [&] { backend->PagedAttention(qkv.view(), shape, *kv, 0, out.view()); });
  }
}

void CountRmsNorm() {
  const auto backend = CreateCpuBackend({WeightFormat::kBF16, 1, "avx2"});
  const Tensor x(*backend, DType::kF32, 1, kK);
  const Tensor weight(*backend, DType::kF32, 1, kK);
  const Tensor out(*backend, backend->operand_dtype(), 1, kK);
  Count("rms_norm_1",
        [&] { backend->RmsNorm(x.view(), weight.view().as<float>(), 1e-5f, out.view()); });
}

int Run() {
  try {
    for (const WeightFormat weights : kCpuWeightFormats) CountProducts(weights);
    CountAttention();
    CountRmsNorm();
  } catch (const DeviceError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 77;  // no AVX2
  }
  return 0;
}

}  // namespace
}  // namespace strata::kernels

int main() { return strata::kernels::Run(); }
