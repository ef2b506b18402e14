// What the engine's round asks of a model. Everything above it is bookkeeping,
// which the simulator drives with a model that only says how long it takes.

#ifndef STRATA_ENGINE_MODEL_MODEL_H_
#define STRATA_ENGINE_MODEL_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
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
  // Not -1: the token is the draft in that slot of the model's chooser, in place of token_id.
  int32_t draft_slot = -1;
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
  kernels::Buffer ids_on_device;   // the same where the model chooses tokens on its device
  // Of a rank whose device chooses: how many tokens of the whole head each rank has. Then
  // ids_on_device are all of them, and the rest above is this rank's own.
  std::vector<int32_t> part_widths;
};

struct ModelLimits {
  int max_rows = 512;       // of one ForwardBatch
  int max_exit_rows = 512;  // of the exit cache
  int max_logit_rows = 64;  // of one Logits call
  int max_context = 0;      // positions of one sequence
  int num_kv_blocks = 0;
  // Where the model chooses tokens on its device: for what unseeded drafts were drawn from.
  int64_t proposal_bytes = int64_t{64} << 20;
};

// What a model offers whose device chooses tokens. Threads and errors as of the model.
class ChoosingModel {
 public:
  virtual kernels::Chooser& chooser() = 0;
  // As Model::Logits, left in device memory: valid until its next call or Logits'. The chooser
  // takes no others.
  virtual kernels::LogitRows LogitsOnDevice(std::span<const int32_t> rows, const Head& head) = 0;
  // Waits. As Model::Logits, of what LogitsOnDevice has returned last.
  virtual const float* ReadLogits(const kernels::LogitRows& logits) = 0;

 protected:
  ~ChoosingModel() = default;
};

// Used from one thread at a time.
class Model {
 public:
  virtual ~Model() = default;

  // Runs each row through its layers, writing keys and values of those layers
  // at its position. May return before that is done.
  virtual void Forward(const ForwardBatch& batch) = 0;
  // Waits for all that was asked.
  virtual void Synchronize() {}

  // Final norm and `head` (this model's) of the hidden states that the last
  // Forward left in `rows` (indices into its batch, at most max_logit_rows).
  // Returns f32 [rows.size(), head.num_tokens], valid until the next call of this class.
  virtual const float* Logits(std::span<const int32_t> rows, const Head& head) = 0;
  // The same of states in the exit cache; at most max_logit_rows.
  virtual const float* ExitLogits(std::span<const int32_t> exit_cache_rows, const Head& head) = 0;
  virtual const Head& head() const = 0;
  // A head of the tokens `ids` (ascending, distinct, at least one). Its logits have the same bits
  // as theirs by head(). Copies hidden_size weights per token. Errors: RESOURCE_EXHAUSTED if the
  // device has too little memory.
  virtual absl::StatusOr<Head> SelectTokens(std::vector<int32_t> ids) = 0;
  // Null: tokens are chosen on the host, from Logits.
  virtual ChoosingModel* choosing() { return nullptr; }

  virtual const ModelConfig& config() const = 0;
  virtual const ModelLimits& limits() const = 0;
  virtual int64_t row_layers() const = 0;  // (row, layer) pairs computed so far
  virtual int64_t head_rows() const = 0;
  virtual int64_t logits_computed() const = 0;
  virtual void ResetCounters() = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_MODEL_MODEL_H_
