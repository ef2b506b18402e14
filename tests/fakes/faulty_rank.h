// A rank of a group that goes wrong at a chosen place: its device runs out of
// memory or is lost, or it never comes to a collective.

#ifndef STRATA_TESTS_FAKES_FAULTY_RANK_H_
#define STRATA_TESTS_FAKES_FAULTY_RANK_H_

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/communicator.h"

namespace strata {

// Called before each operation, allocation and collective with its name, such as "MatMul"; it may
// throw, or not come back.
using Fault = std::function<void(const std::string& operation)>;

// Has no chooser, whatever the other has: tokens are chosen on the host.
class FaultyBackend final : public kernels::Backend {
 public:
  FaultyBackend(std::unique_ptr<kernels::Backend> backend, Fault fault)
      : backend_(std::move(backend)), fault_(std::move(fault)) {}

  std::string Description() const override { return backend_->Description(); }
  kernels::DType operand_dtype() const override { return backend_->operand_dtype(); }

  kernels::Buffer Allocate(size_t size_bytes) override {
    fault_("Allocate");
    return backend_->Allocate(size_bytes);
  }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    fault_("CopyToDevice");
    backend_->CopyToDevice(device, host, size_bytes);
  }
  std::unique_ptr<kernels::Matrix> LoadMatrix(std::span<const kernels::HostMatrix> parts) override {
    fault_("LoadMatrix");
    return backend_->LoadMatrix(parts);
  }
  std::unique_ptr<kernels::Matrix> LoadGatedMatrix(const kernels::HostMatrix& gate,
                                                   const kernels::HostMatrix& up) override {
    fault_("LoadGatedMatrix");
    return backend_->LoadGatedMatrix(gate, up);
  }
  std::unique_ptr<kernels::Matrix> SelectRows(const kernels::Matrix& w,
                                              std::span<const int32_t> rows) override {
    fault_("SelectRows");
    return backend_->SelectRows(w, rows);
  }
  std::unique_ptr<kernels::EmbeddingTable> LoadEmbedding(
      const kernels::HostMatrix& table) override {
    fault_("LoadEmbedding");
    return backend_->LoadEmbedding(table);
  }
  std::unique_ptr<kernels::KvCache> CreateKvCache(const kernels::KvCacheShape& shape) override {
    fault_("CreateKvCache");
    return backend_->CreateKvCache(shape);
  }

  void BeginBatch(const kernels::RowBatch& batch) override {
    fault_("BeginBatch");
    backend_->BeginBatch(batch);
  }
  void Embed(const kernels::EmbeddingTable& table, kernels::TensorView x) override {
    fault_("Embed");
    backend_->Embed(table, x);
  }
  void RmsNorm(kernels::ConstTensorView x, const float* weight, float eps,
               kernels::TensorView out) override {
    fault_("RmsNorm");
    backend_->RmsNorm(x, weight, eps, out);
  }
  void MatMul(kernels::ConstTensorView a, const kernels::Matrix& w, Epilogue epilogue,
              kernels::TensorView out) override {
    fault_("MatMul");
    backend_->MatMul(a, w, epilogue, out);
  }
  void GatedMatMul(kernels::ConstTensorView a, const kernels::Matrix& w,
                   kernels::TensorView out) override {
    fault_("GatedMatMul");
    backend_->GatedMatMul(a, w, out);
  }
  void RopeAndAppendKv(kernels::TensorView qkv, const kernels::AttentionShape& shape,
                       const kernels::RopeTable& rope, kernels::KvCache& kv, int layer) override {
    fault_("RopeAndAppendKv");
    backend_->RopeAndAppendKv(qkv, shape, rope, kv, layer);
  }
  void PagedAttention(kernels::ConstTensorView qkv, const kernels::AttentionShape& shape,
                      const kernels::KvCache& kv, int layer, kernels::TensorView out) override {
    fault_("PagedAttention");
    backend_->PagedAttention(qkv, shape, kv, layer, out);
  }
  void GatherRows(kernels::ConstTensorView src, std::span<const int32_t> indices,
                  kernels::TensorView dst) override {
    fault_("GatherRows");
    backend_->GatherRows(src, indices, dst);
  }
  void ScatterRows(kernels::ConstTensorView src, std::span<const int32_t> indices,
                   kernels::TensorView dst) override {
    fault_("ScatterRows");
    backend_->ScatterRows(src, indices, dst);
  }
  const float* ReadBack(kernels::ConstTensorView x) override {
    fault_("ReadBack");
    return backend_->ReadBack(x);
  }
  void Synchronize() override {
    fault_("Synchronize");
    backend_->Synchronize();
  }

 private:
  const std::unique_ptr<kernels::Backend> backend_;
  const Fault fault_;
};

class FaultyCommunicator final : public kernels::Communicator {
 public:
  FaultyCommunicator(std::unique_ptr<kernels::Communicator> communicator, Fault fault)
      : communicator_(std::move(communicator)), fault_(std::move(fault)) {}

  int rank() const override { return communicator_->rank(); }
  int size() const override { return communicator_->size(); }
  void AllReduceSum(kernels::TensorView x) override {
    fault_("AllReduceSum");
    communicator_->AllReduceSum(x);
  }
  void AllGather(kernels::TensorView x) override {
    fault_("AllGather");
    communicator_->AllGather(x);
  }
  void Broadcast(kernels::TensorView x, int root) override {
    fault_("Broadcast");
    communicator_->Broadcast(x, root);
  }
  void Barrier() override {
    fault_("Barrier");
    communicator_->Barrier();
  }
  void Abort(const std::string& reason) override { communicator_->Abort(reason); }

 private:
  const std::unique_ptr<kernels::Communicator> communicator_;
  const Fault fault_;
};

inline kernels::RankDevice MakeFaulty(kernels::RankDevice rank, const Fault& fault) {
  rank.backend = std::make_unique<FaultyBackend>(std::move(rank.backend), fault);
  rank.communicator = std::make_unique<FaultyCommunicator>(std::move(rank.communicator), fault);
  return rank;
}

}  // namespace strata

#endif  // STRATA_TESTS_FAKES_FAULTY_RANK_H_
