#include "bench/null_backend.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "engine/random.h"

namespace strata::bench {
namespace {

using kernels::ConstTensorView;
using kernels::HostMatrix;
using kernels::KvCacheShape;
using kernels::TensorView;

class NullMatrix final : public kernels::Matrix {
 public:
  size_t size_bytes() const override { return 0; }
};

class NullEmbedding final : public kernels::EmbeddingTable {};

class NullKvCache final : public kernels::KvCache {
 public:
  explicit NullKvCache(const KvCacheShape& shape)
      : size_bytes_(size_t{2} * shape.num_layers * shape.num_kv_heads * shape.head_dim *
                    shape.num_blocks * kernels::kKvBlockTokens * sizeof(float)) {}
  size_t size_bytes() const override { return size_bytes_; }  // as if it were there

 private:
  const size_t size_bytes_;
};

class NullBackend final : public kernels::Backend {
 public:
  std::string Description() const override { return "null"; }
  kernels::DType operand_dtype() const override { return kernels::DType::kF32; }

  kernels::Buffer Allocate(size_t size_bytes) override {
    void* const data = std::calloc(size_bytes, 1);
    if (data == nullptr) throw std::bad_alloc();
    return {data, size_bytes, [](void* memory) { std::free(memory); }};
  }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    std::memcpy(device, host, size_bytes);
  }
  std::unique_ptr<kernels::Matrix> LoadMatrix(std::span<const HostMatrix>) override {
    return std::make_unique<NullMatrix>();
  }
  std::unique_ptr<kernels::Matrix> LoadGatedMatrix(const HostMatrix&, const HostMatrix&) override {
    return std::make_unique<NullMatrix>();
  }
  std::unique_ptr<kernels::Matrix> SelectRows(const kernels::Matrix&,
                                              std::span<const int32_t>) override {
    return std::make_unique<NullMatrix>();
  }
  std::unique_ptr<kernels::EmbeddingTable> LoadEmbedding(const HostMatrix&) override {
    return std::make_unique<NullEmbedding>();
  }
  std::unique_ptr<kernels::KvCache> CreateKvCache(const KvCacheShape& shape) override {
    return std::make_unique<NullKvCache>(shape);
  }

  void BeginBatch(const kernels::RowBatch&) override {}
  void Embed(const kernels::EmbeddingTable&, TensorView) override {}
  void RmsNorm(ConstTensorView, const float*, float, TensorView) override {}
  void MatMul(ConstTensorView, const kernels::Matrix&, Epilogue, TensorView) override {}
  void GatedMatMul(ConstTensorView, const kernels::Matrix&, TensorView) override {}
  void RopeAndAppendKv(TensorView, const kernels::AttentionShape&, const kernels::RopeTable&,
                       kernels::KvCache&, int) override {}
  void PagedAttention(ConstTensorView, const kernels::AttentionShape&, const kernels::KvCache&, int,
                      TensorView) override {}
  void GatherRows(ConstTensorView, std::span<const int32_t>, TensorView) override {}
  void ScatterRows(ConstTensorView, std::span<const int32_t>, TensorView) override {}

  const float* ReadBack(ConstTensorView x) override {
    const size_t size = static_cast<size_t>(x.rows * x.cols);
    for (size_t i = logits_.size(); i < size; ++i) {
      const uint64_t token = i % static_cast<uint64_t>(x.cols);
      logits_.push_back(static_cast<float>(8 * ToUnitInterval(Mix64(token))));
    }
    return logits_.data();
  }
  void Synchronize() override {}

 private:
  std::vector<float> logits_;
};

}  // namespace

std::unique_ptr<kernels::Backend> CreateNullBackend() { return std::make_unique<NullBackend>(); }

}  // namespace strata::bench
