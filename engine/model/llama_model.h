// The one definition of the Llama architecture, over any backend.

#ifndef STRATA_ENGINE_MODEL_LLAMA_MODEL_H_
#define STRATA_ENGINE_MODEL_LLAMA_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_shard.h"
#include "engine/model/model.h"
#include "kernels/backend.h"
#include "kernels/communicator.h"

namespace strata {

// Alone or as one rank of a tensor-parallel group. The ranks make the same calls at the same time.
// Hidden states and the exit cache are the same in all ranks; a rank's head is of its own tokens,
// ModelShard::tokens, and so are the heads it selects, which may be of none at all. Where devices
// choose tokens, each rank does so, from rows of logits that are gathered from all.
// Used from one thread at a time.
class LlamaModel final : public Model, private ChoosingModel {
 public:
  // Loads the weights, or the rank's shard of them, through `backend`, which must outlive the
  // model; so must `checkpoint` (embedding rows may be read from its memory map) and
  // `communicator`, if this is a rank.
  // Errors: RESOURCE_EXHAUSTED if the device has too little memory, or another rank has failed;
  // INVALID_ARGUMENT if shards are asked of a packed checkpoint; those of MatrixLoader and ShardOf.
  static absl::StatusOr<std::unique_ptr<LlamaModel>> Create(
      const Checkpoint& checkpoint, kernels::Backend* backend, const ModelLimits& limits,
      kernels::Communicator* communicator = nullptr);

  // Bytes of one KV block over all layers, for sizing the pool.
  static int64_t KvBlockBytes(const ModelConfig& config, kernels::Backend& backend) {
    return KvBlockBytes(config, WholeModel(config), backend);
  }
  static int64_t KvBlockBytes(const ModelConfig& config, const ModelShard& shard,
                              kernels::Backend& backend);

  void Forward(const ForwardBatch& batch) override;
  void Synchronize() override { backend_->Synchronize(); }
  const float* Logits(std::span<const int32_t> rows, const Head& head) override;
  const float* Logits(std::span<const int32_t> rows) { return Logits(rows, head_); }
  const float* ExitLogits(std::span<const int32_t> exit_cache_rows, const Head& head) override;
  const Head& head() const override { return head_; }
  absl::StatusOr<Head> SelectTokens(std::vector<int32_t> ids) override;
  // LogitsOnDevice is then a collective, and ReadLogits gives the rank's own columns.
  ChoosingModel* choosing() override { return chooser_ != nullptr ? this : nullptr; }

  const ModelConfig& config() const override { return config_; }
  const ModelLimits& limits() const override { return limits_; }
  int64_t row_layers() const override { return row_layers_; }
  int64_t head_rows() const override { return head_rows_; }
  int64_t logits_computed() const override { return logits_computed_; }

  void ResetCounters() override { row_layers_ = head_rows_ = logits_computed_ = 0; }

  // L2 norm of the hidden state that the last Forward left in `row`. For tests.
  double HiddenNorm(int row);

 private:
  // Shapes here and below are of this shard's heads, inner features and tokens.
  struct Layer {
    kernels::Buffer input_norm;                // f32 [hidden]
    kernels::Buffer post_attn_norm;            // f32 [hidden]
    std::unique_ptr<kernels::Matrix> qkv;      // [(heads + 2 kv_heads) * head_dim, hidden]
    std::unique_ptr<kernels::Matrix> out;      // [hidden, heads * head_dim]
    std::unique_ptr<kernels::Matrix> gate_up;  // gated [2 x intermediate, hidden]
    std::unique_ptr<kernels::Matrix> down;     // [hidden, intermediate]
  };

  LlamaModel(const ModelConfig& config, const ModelShard& shard, kernels::Backend* backend,
             kernels::Communicator* communicator, const ModelLimits& limits);
  bool is_alone() const { return shard_.size == 1; }
  absl::Status LoadWeights(const Checkpoint& checkpoint);
  void AllocateActivations();
  kernels::Buffer LoadVector(const kernels::HostMatrix& vector);

  void BeginBatch(const ForwardBatch& batch);
  void EnterRows(const ForwardBatch& batch);
  void LeaveRows(const ForwardBatch& batch);
  void ComputeLayers(LayerRange layers, int num_rows);
  void ComputeLayer(int layer, int num_rows);
  // hidden += the sum of all ranks' a W^T
  void AddProduct(kernels::ConstTensorView a, const kernels::Matrix& w, kernels::TensorView hidden);
  void CopyTaps(const ForwardBatch& batch, int layer);
  kernels::TensorView HiddenStates() const;
  // Final norm and head. states f32 [any, hidden]; returns f32 [rows.size(), head.num_tokens]
  kernels::TensorView ComputeLogits(const kernels::TensorView& states,
                                    std::span<const int32_t> rows, const Head& head);
  const float* LogitsOf(const kernels::TensorView& states, std::span<const int32_t> rows,
                        const Head& head);
  kernels::TensorView LogitParts(int64_t count, const Head& head) const;
  // Of so many rows: where this rank's stand.  f32 [count, head.num_tokens]
  kernels::TensorView OwnLogits(int64_t count, const Head& head) const;
  // How many of `ids` each rank has.
  std::vector<int32_t> CountByRank(std::span<const int32_t> ids) const;

  kernels::Chooser& chooser() override { return *chooser_; }
  kernels::LogitRows LogitsOnDevice(std::span<const int32_t> rows, const Head& head) override;
  const float* ReadLogits(const kernels::LogitRows& logits) override;

  const ModelConfig config_;
  const ModelShard shard_;
  std::vector<IndexRange> tokens_of_ranks_;
  const ModelLimits limits_;
  kernels::Backend* const backend_;
  kernels::LocalCommunicator alone_;
  kernels::Communicator* const communicator_;
  const kernels::AttentionShape attention_;

  std::unique_ptr<kernels::EmbeddingTable> embedding_;
  std::vector<Layer> layers_;
  kernels::Buffer final_norm_;           // f32 [hidden]
  Head head_;                            // of all the shard's tokens
  kernels::Buffer rope_cos_, rope_sin_;  // f32 [max_context, head_dim / 2]
  std::unique_ptr<kernels::KvCache> kv_;
  std::unique_ptr<kernels::Chooser> chooser_;  // may be null

  // Activations of one batch, as in ActivationSizes.
  kernels::Buffer hidden_, exit_cache_, normed_, qkv_, attended_, activated_, head_input_, logits_;

  // Of the current batch, kept to reuse their memory.
  std::vector<int32_t> token_ids_, positions_, sequences_, draft_slots_;
  std::vector<int32_t> source_rows_, exit_rows_;
  int64_t row_layers_ = 0;
  int64_t head_rows_ = 0;
  int64_t logits_computed_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_MODEL_LLAMA_MODEL_H_
