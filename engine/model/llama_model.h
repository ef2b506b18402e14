// The one definition of the Llama architecture, over any backend.

#ifndef STRATA_ENGINE_MODEL_LLAMA_MODEL_H_
#define STRATA_ENGINE_MODEL_LLAMA_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "kernels/backend.h"

namespace strata {

// Layers [begin, end).
struct LayerRange {
  int begin = 0;
  int end = 0;
};

// One position of one sequence on its way through some of the layers.
struct ForwardRow {
  int32_t token_id = 0;
  int32_t position = 0;
  int32_t sequence = 0;  // row of ForwardBatch::block_tables
  LayerRange layers;
  // The row of the exit cache from which a row with layers.begin > 0 enters, and in which a row
  // with layers.end < num_layers leaves its hidden state. -1: none (it may be left out only where
  // the row begins at 0, and the state is then not kept).
  int32_t exit_cache_row = -1;
};

// Copies the hidden state of a row on its way: what layer `layer` - 1 leaves, to that row of the
// exit cache. Such a state is what the row would exit with there.
struct HiddenTap {
  int32_t row = 0;    // of ForwardBatch::rows; it runs layer `layer` - 1
  int32_t layer = 0;  // [1, num_layers - 1]
  int32_t exit_cache_row = 0;
};

// REQUIRES: the rows that any layer computes are a prefix of `rows`. That is:
// rows sorted by descending layers.end if all begin at 0 (drafting: each row
// leaves at its exit), or by ascending layers.begin if all end at the last
// layer (the full sweep: drafted rows enter at their exit).
struct ForwardBatch {
  std::vector<ForwardRow> rows;
  std::vector<HiddenTap> taps;        // in any order
  std::vector<int32_t> block_tables;  // [num_sequences, max_blocks_per_sequence]
  int max_blocks_per_sequence = 0;

  // Of rows and taps.
  void Clear() { rows.clear(), taps.clear(); }
};

// The output matrix of all tokens or of some of them.
struct Head {
  std::unique_ptr<kernels::Matrix> matrix;  // [num_tokens, hidden]
  int num_tokens = 0;
  std::vector<int32_t> token_ids;  // of the rows, ascending; empty: row i is token i
};

struct ModelLimits {
  int max_rows = 512;       // of one ForwardBatch
  int max_exit_rows = 512;  // of the exit cache
  int max_logit_rows = 64;  // of one Logits call
  int max_context = 0;      // positions of one sequence
  int num_kv_blocks = 0;
};

// Used from one thread at a time.
class LlamaModel {
 public:
  // Loads the weights through `backend`, which must outlive the model; so must
  // `checkpoint` (embedding rows may be read from its memory map).
  // Errors: RESOURCE_EXHAUSTED if the device has too little memory; those of MatrixLoader.
  static absl::StatusOr<std::unique_ptr<LlamaModel>> Create(const Checkpoint& checkpoint,
                                                            kernels::Backend* backend,
                                                            const ModelLimits& limits);

  // Bytes of one KV block over all layers, for sizing the pool.
  static int64_t KvBlockBytes(const ModelConfig& config, kernels::Backend& backend);

  // Runs each row through its layers, writing keys and values of those layers
  // at its position.
  void Forward(const ForwardBatch& batch);

  // Final norm and `head` (this model's) of the hidden states that the last
  // Forward left in `rows` (indices into its batch, at most max_logit_rows).
  // Returns f32 [rows.size(), head.num_tokens], valid until the next call of this class.
  const float* Logits(std::span<const int32_t> rows, const Head& head);
  const float* Logits(std::span<const int32_t> rows) { return Logits(rows, head_); }
  // The same of states in the exit cache; at most max_logit_rows.
  const float* ExitLogits(std::span<const int32_t> exit_cache_rows, const Head& head);
  const Head& head() const { return head_; }
  // A head of the tokens `ids` (ascending, distinct, at least one). Its logits have the same bits
  // as theirs by head(). Copies hidden_size weights per token. Errors: RESOURCE_EXHAUSTED if the
  // device has too little memory.
  absl::StatusOr<Head> SelectTokens(std::vector<int32_t> ids);

  const ModelConfig& config() const { return config_; }
  const ModelLimits& limits() const { return limits_; }
  int64_t row_layers() const { return row_layers_; }  // (row, layer) pairs computed so far
  int64_t head_rows() const { return head_rows_; }
  int64_t logits_computed() const { return logits_computed_; }

  void ResetCounters() { row_layers_ = head_rows_ = logits_computed_ = 0; }

  // L2 norm of the hidden state that the last Forward left in `row`. For tests.
  double HiddenNorm(int row);

 private:
  struct Layer {
    kernels::Buffer input_norm;                // f32 [hidden]
    kernels::Buffer post_attn_norm;            // f32 [hidden]
    std::unique_ptr<kernels::Matrix> qkv;      // [(heads + 2 kv_heads) * head_dim, hidden]
    std::unique_ptr<kernels::Matrix> out;      // [hidden, heads * head_dim]
    std::unique_ptr<kernels::Matrix> gate_up;  // gated [2 x intermediate, hidden]
    std::unique_ptr<kernels::Matrix> down;     // [hidden, intermediate]
  };

  LlamaModel(const ModelConfig& config, kernels::Backend* backend, const ModelLimits& limits);
  absl::Status LoadWeights(const Checkpoint& checkpoint);
  void AllocateActivations();
  kernels::Buffer LoadVector(const kernels::HostMatrix& vector);

  void BeginBatch(const ForwardBatch& batch);
  void EnterRows(const ForwardBatch& batch);
  void LeaveRows(const ForwardBatch& batch);
  void ComputeLayer(int layer, int num_rows);
  void CopyTaps(const ForwardBatch& batch, int layer);
  const float* LogitsOf(const kernels::TensorView& states, std::span<const int32_t> rows,
                        const Head& head);

  const ModelConfig config_;
  const ModelLimits limits_;
  kernels::Backend* const backend_;
  const kernels::AttentionShape attention_;

  std::unique_ptr<kernels::EmbeddingTable> embedding_;
  std::vector<Layer> layers_;
  kernels::Buffer final_norm_;           // f32 [hidden]
  Head head_;                            // of all tokens
  kernels::Buffer rope_cos_, rope_sin_;  // f32 [max_context, head_dim / 2]
  std::unique_ptr<kernels::KvCache> kv_;

  // Activations of one batch.
  kernels::Buffer hidden_;      // f32 [max_rows, hidden]: the residual stream
  kernels::Buffer exit_cache_;  // f32 [max_exit_rows, hidden]
  kernels::Buffer normed_;      // operand [max_rows, hidden]
  kernels::Buffer qkv_;         // f32 [max_rows, (heads + 2 kv_heads) * head_dim]
  kernels::Buffer attended_;    // operand [max_rows, heads * head_dim]
  kernels::Buffer activated_;   // operand [max_rows, intermediate]
  kernels::Buffer head_input_;  // f32 [max_logit_rows, hidden]
  kernels::Buffer logits_;      // f32 [max_logit_rows, vocab]

  // Of the current batch, kept to reuse their memory.
  std::vector<int32_t> token_ids_, positions_, sequences_;
  std::vector<int32_t> source_rows_, exit_rows_;
  int64_t row_layers_ = 0;
  int64_t head_rows_ = 0;
  int64_t logits_computed_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_MODEL_LLAMA_MODEL_H_
