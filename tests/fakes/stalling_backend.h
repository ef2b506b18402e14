// A backend that stops in the middle of a round for as long as it is told to: an engine that is
// stuck.

#ifndef STRATA_TESTS_FAKES_STALLING_BACKEND_H_
#define STRATA_TESTS_FAKES_STALLING_BACKEND_H_

#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "kernels/backend.h"

namespace strata {

// Thread-safe.
class Stall {
 public:
  void Set(bool stalled) {
    absl::MutexLock lock(&mu_);
    stalled_ = stalled;
  }
  void WaitUntilOver() {
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(
        +[](Stall* self) { return !self->stalled_; }, this));
  }

 private:
  absl::Mutex mu_;
  bool stalled_ ABSL_GUARDED_BY(mu_) = false;
};

// Leaves all work to another one.
class StallingBackend final : public kernels::Backend {
 public:
  // `stall` must outlive this.
  StallingBackend(std::unique_ptr<kernels::Backend> backend, Stall* stall)
      : backend_(std::move(backend)), stall_(stall) {}

  void BeginBatch(const kernels::RowBatch& batch) override {
    stall_->WaitUntilOver();
    backend_->BeginBatch(batch);
  }

  std::string Description() const override { return backend_->Description(); }
  kernels::DType operand_dtype() const override { return backend_->operand_dtype(); }
  kernels::Buffer Allocate(size_t size_bytes) override { return backend_->Allocate(size_bytes); }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    backend_->CopyToDevice(device, host, size_bytes);
  }
  std::unique_ptr<kernels::Matrix> LoadMatrix(std::span<const kernels::HostMatrix> parts) override {
    return backend_->LoadMatrix(parts);
  }
  std::unique_ptr<kernels::Matrix> LoadGatedMatrix(const kernels::HostMatrix& gate,
                                                   const kernels::HostMatrix& up) override {
    return backend_->LoadGatedMatrix(gate, up);
  }
  std::unique_ptr<kernels::Matrix> SelectRows(const kernels::Matrix& w,
                                              std::span<const int32_t> rows) override {
    return backend_->SelectRows(w, rows);
  }
  std::unique_ptr<kernels::EmbeddingTable> LoadEmbedding(
      const kernels::HostMatrix& table) override {
    return backend_->LoadEmbedding(table);
  }
  std::unique_ptr<kernels::KvCache> CreateKvCache(const kernels::KvCacheShape& shape) override {
    return backend_->CreateKvCache(shape);
  }
  void Embed(const kernels::EmbeddingTable& table, kernels::TensorView x) override {
    backend_->Embed(table, x);
  }
  void RmsNorm(kernels::ConstTensorView x, const float* weight, float eps,
               kernels::TensorView out) override {
    backend_->RmsNorm(x, weight, eps, out);
  }
  void MatMul(kernels::ConstTensorView a, const kernels::Matrix& w, Epilogue epilogue,
              kernels::TensorView out) override {
    backend_->MatMul(a, w, epilogue, out);
  }
  void GatedMatMul(kernels::ConstTensorView a, const kernels::Matrix& w,
                   kernels::TensorView out) override {
    backend_->GatedMatMul(a, w, out);
  }
  void RopeAndAppendKv(kernels::TensorView qkv, const kernels::AttentionShape& shape,
                       const kernels::RopeTable& rope, kernels::KvCache& kv, int layer) override {
    backend_->RopeAndAppendKv(qkv, shape, rope, kv, layer);
  }
  void PagedAttention(kernels::ConstTensorView qkv, const kernels::AttentionShape& shape,
                      const kernels::KvCache& kv, int layer, kernels::TensorView out) override {
    backend_->PagedAttention(qkv, shape, kv, layer, out);
  }
  void GatherRows(kernels::ConstTensorView src, std::span<const int32_t> indices,
                  kernels::TensorView dst) override {
    backend_->GatherRows(src, indices, dst);
  }
  void ScatterRows(kernels::ConstTensorView src, std::span<const int32_t> indices,
                   kernels::TensorView dst) override {
    backend_->ScatterRows(src, indices, dst);
  }
  const float* ReadBack(kernels::ConstTensorView x) override { return backend_->ReadBack(x); }
  void Synchronize() override { backend_->Synchronize(); }

 private:
  const std::unique_ptr<kernels::Backend> backend_;
  Stall* const stall_;
};

}  // namespace strata

#endif  // STRATA_TESTS_FAKES_STALLING_BACKEND_H_
