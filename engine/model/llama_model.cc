#include "engine/model/llama_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <new>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "engine/checkpoint/model_tensors.h"
#include "engine/model/activations.h"
#include "engine/model/matrix_loader.h"
#include "engine/model/rope.h"
#include "engine/status_macros.h"
#include "kernels/float_types.h"

namespace strata {

using kernels::Backend;
using kernels::ConstTensorView;
using kernels::DType;
using kernels::HostMatrix;
using kernels::TensorView;

namespace {

// What allocate() says. The one place where the kernels' exceptions become statuses at load time.
template <typename Allocate>
absl::Status WhereMemoryLasts(const char* what, const Allocate& allocate) {
  try {
    return allocate();
  } catch (const kernels::DeviceError& error) {
    return absl::ResourceExhaustedError(fmt::format("{}: {}", what, error.what()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(fmt::format("{}: out of memory", what));
  }
}

// How many rows, the first ones, run `layer`.
int NumRowsOf(const ForwardBatch& batch, int layer) {
  const auto first_other =
      std::find_if_not(batch.rows.begin(), batch.rows.end(), [layer](const ForwardRow& row) {
        return row.layers.begin <= layer && layer < row.layers.end;
      });
  return static_cast<int>(first_other - batch.rows.begin());
}

// Whether somebody wants what layer `layer` - 1 leaves.
bool IsTapped(const ForwardBatch& batch, int layer) {
  return std::any_of(batch.taps.begin(), batch.taps.end(),
                     [layer](const HiddenTap& tap) { return tap.layer == layer; });
}

}  // namespace

LlamaModel::LlamaModel(const ModelConfig& config, const ModelShard& shard, Backend* backend,
                       kernels::Communicator* communicator, const ModelLimits& limits)
    : config_(config),
      shard_(shard),
      limits_(limits),
      backend_(backend),
      communicator_(communicator != nullptr ? communicator : &alone_),
      attention_{static_cast<int>(shard.heads.size()), static_cast<int>(shard.kv_heads.size()),
                 config.head_dim} {}

absl::StatusOr<std::unique_ptr<LlamaModel>> LlamaModel::Create(
    const Checkpoint& checkpoint, Backend* backend, const ModelLimits& limits,
    kernels::Communicator* communicator) {
  const ModelConfig& config = checkpoint.config();
  ModelShard shard = WholeModel(config);
  if (communicator != nullptr) {
    ASSIGN_OR_RETURN(shard, ShardOf(config, communicator->rank(), communicator->size()));
  }
  if (shard.size > 1 && checkpoint.packed() != nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("{}: a packed folder holds whole matrices, which cannot be split over {} "
                    "ranks; serve the original checkpoint",
                    checkpoint.folder(), shard.size));
  }
  std::unique_ptr<LlamaModel> model(new LlamaModel(config, shard, backend, communicator, limits));
  for (int rank = 0; rank < shard.size; ++rank) {
    ASSIGN_OR_RETURN(const ModelShard of_rank, ShardOf(config, rank, shard.size));
    model->tokens_of_ranks_.push_back(of_rank.tokens);
  }
  RETURN_IF_ERROR(WhereMemoryLasts("loading the model", [&]() -> absl::Status {
    RETURN_IF_ERROR(model->LoadWeights(checkpoint));
    model->AllocateActivations();
    return absl::OkStatus();
  }));
  return model;
}

int64_t LlamaModel::KvBlockBytes(const ModelConfig& config, const ModelShard& shard,
                                 Backend& backend) {
  const std::unique_ptr<kernels::KvCache> one_block = backend.CreateKvCache(
      {config.num_layers, static_cast<int>(shard.kv_heads.size()), config.head_dim, 1});
  return static_cast<int64_t>(one_block->size_bytes());
}

kernels::Buffer LlamaModel::LoadVector(const HostMatrix& vector) {
  std::vector<float> values(vector.cols);
  for (int64_t i = 0; i < vector.cols; ++i) {
    values[i] = kernels::LoadAsF32(vector.data, vector.dtype, i);
  }
  kernels::Buffer buffer = backend_->Allocate(values.size() * sizeof(float));
  backend_->CopyToDevice(buffer.data(), values.data(), values.size() * sizeof(float));
  return buffer;
}

absl::Status LlamaModel::LoadWeights(const Checkpoint& checkpoint) {
  ASSIGN_OR_RETURN(const MatrixLoader loader, MatrixLoader::Create(checkpoint, *backend_));
  layers_.resize(config_.num_layers);
  for (int i = 0; i < config_.num_layers; ++i) {
    const auto norm = [&](const char* name) {
      return LoadVector(checkpoint.Tensor(fmt::format("model.layers.{}.{}.weight", i, name)));
    };
    Layer& layer = layers_[i];
    // Ranks read a layer's tensors at the same time, and hear of one that cannot go on.
    communicator_->Barrier();
    layer.input_norm = norm("input_layernorm");
    layer.post_attn_norm = norm("post_attention_layernorm");
    const LayerMatrices matrices = MatricesOfLayer(config_, shard_, i);
    ASSIGN_OR_RETURN(layer.qkv, loader.Load(matrices.qkv));
    ASSIGN_OR_RETURN(layer.out, loader.Load(matrices.out));
    ASSIGN_OR_RETURN(layer.gate_up, loader.Load(matrices.gate_up));
    ASSIGN_OR_RETURN(layer.down, loader.Load(matrices.down));
  }
  final_norm_ = LoadVector(checkpoint.Tensor("model.norm.weight"));
  const kernels::HostMatrix embedding = RowsOf(checkpoint.Tensor(kEmbeddingTensor), shard_.tokens);
  embedding_ = backend_->LoadEmbedding(embedding);
  checkpoint.Release(embedding);
  ASSIGN_OR_RETURN(head_.matrix, loader.Load(HeadMatrix(config_, shard_)));
  head_.num_tokens = static_cast<int>(shard_.tokens.size());
  return absl::OkStatus();
}

void LlamaModel::AllocateActivations() {
  chooser_ = backend_->CreateChooser(ChooserLimitsOf(config_, shard_, limits_));
  const bool gathers_logits = chooser_ != nullptr && !is_alone();
  if (gathers_logits) {
    for (const IndexRange& tokens : tokens_of_ranks_) {
      head_.part_widths.push_back(static_cast<int32_t>(tokens.size()));
    }
  }
  const ActivationSizes sizes =
      ActivationSizesOf(config_, shard_, limits_, backend_->operand_dtype(), gathers_logits);
  hidden_ = backend_->Allocate(sizes.hidden);
  exit_cache_ = backend_->Allocate(sizes.exit_cache);
  normed_ = backend_->Allocate(sizes.normed);
  qkv_ = backend_->Allocate(sizes.qkv);
  attended_ = backend_->Allocate(sizes.attended);
  activated_ = backend_->Allocate(sizes.activated);
  head_input_ = backend_->Allocate(sizes.head_input);
  logits_ = backend_->Allocate(sizes.logits);
  const HostRopeTable rope = MakeRopeTable(config_, limits_.max_context);
  rope_cos_ = backend_->Allocate(sizes.rope);
  rope_sin_ = backend_->Allocate(sizes.rope);
  backend_->CopyToDevice(rope_cos_.data(), rope.cos.data(), sizes.rope);
  backend_->CopyToDevice(rope_sin_.data(), rope.sin.data(), sizes.rope);
  kv_ = backend_->CreateKvCache(
      {config_.num_layers, attention_.num_kv_heads, config_.head_dim, limits_.num_kv_blocks});
}

void LlamaModel::Forward(const ForwardBatch& batch) {
  if (batch.rows.empty()) return;
  BeginBatch(batch);
  EnterRows(batch);
  for (LayerRange layers; layers.end < config_.num_layers; layers.begin = layers.end) {
    const int num_rows = NumRowsOf(batch, layers.begin);
    layers.end = layers.begin + 1;
    while (layers.end < config_.num_layers && NumRowsOf(batch, layers.end) == num_rows &&
           !IsTapped(batch, layers.end)) {
      ++layers.end;
    }
    if (num_rows > 0) ComputeLayers(layers, num_rows);
    if (!batch.taps.empty()) CopyTaps(batch, layers.end);
  }
  LeaveRows(batch);
}

// Layers that as many rows run through, one after the other.
void LlamaModel::ComputeLayers(LayerRange layers, int num_rows) {
  const auto compute = [this, &layers, num_rows] {
    for (int layer = layers.begin; layer < layers.end; ++layer) ComputeLayer(layer, num_rows);
  };
  row_layers_ += int64_t{num_rows} * (layers.end - layers.begin);
  // Collectives are no operations of the backend.
  if (!is_alone()) return compute();
  const uint64_t key = static_cast<uint64_t>(layers.begin) << 48 |
                       static_cast<uint64_t>(layers.end) << 32 | static_cast<uint64_t>(num_rows);
  backend_->Repeat(key, std::cref(compute));
}

void LlamaModel::CopyTaps(const ForwardBatch& batch, int layer) {
  const TensorView hidden = hidden_.View(DType::kF32, limits_.max_rows, config_.hidden_size);
  const TensorView cache =
      exit_cache_.View(DType::kF32, limits_.max_exit_rows, config_.hidden_size);
  for (const HiddenTap& tap : batch.taps) {
    if (tap.layer == layer) {
      backend_->GatherRows(hidden, {&tap.row, 1}, cache.Rows(tap.exit_cache_row, 1));
    }
  }
}

void LlamaModel::BeginBatch(const ForwardBatch& batch) {
  token_ids_.clear();
  positions_.clear();
  sequences_.clear();
  draft_slots_.clear();
  for (const ForwardRow& row : batch.rows) {
    const bool is_ours = shard_.tokens.Contains(row.token_id);
    token_ids_.push_back(is_ours ? row.token_id - static_cast<int32_t>(shard_.tokens.begin) : -1);
    positions_.push_back(row.position);
    sequences_.push_back(row.sequence);
    draft_slots_.push_back(row.draft_slot);
  }
  kernels::RowBatch rows;
  rows.token_ids = token_ids_;
  rows.positions = positions_;
  rows.sequences = sequences_;
  rows.block_tables = batch.block_tables;
  rows.max_blocks_per_sequence = batch.max_blocks_per_sequence;
  rows.first_token = static_cast<int32_t>(shard_.tokens.begin);
  rows.num_tokens = static_cast<int32_t>(shard_.tokens.size());
  const auto is_draft = [](int32_t slot) { return slot >= 0; };
  if (std::any_of(draft_slots_.begin(), draft_slots_.end(), is_draft)) {
    rows.draft_slots = draft_slots_;
    rows.chooser = chooser_.get();
  }
  backend_->BeginBatch(rows);
}

// Rows that begin at layer 0 stand first and start from their token's
// embedding; the others go on from where they left the exit cache.
void LlamaModel::EnterRows(const ForwardBatch& batch) {
  const auto late = std::find_if(batch.rows.begin(), batch.rows.end(),
                                 [](const ForwardRow& row) { return row.layers.begin > 0; });
  const int num_embedded = static_cast<int>(late - batch.rows.begin());
  const TensorView hidden =
      hidden_.View(DType::kF32, static_cast<int64_t>(batch.rows.size()), config_.hidden_size);
  if (num_embedded > 0) {
    backend_->Embed(*embedding_, hidden.Rows(0, num_embedded));
    communicator_->AllReduceSum(hidden.Rows(0, num_embedded));
  }
  exit_rows_.clear();
  for (auto row = late; row != batch.rows.end(); ++row) exit_rows_.push_back(row->exit_cache_row);
  if (exit_rows_.empty()) return;
  backend_->GatherRows(exit_cache_.View(DType::kF32, limits_.max_exit_rows, config_.hidden_size),
                       exit_rows_, hidden.Rows(num_embedded, hidden.rows - num_embedded));
}

// Rows that end before the last layer leave their hidden state in the exit cache.
void LlamaModel::LeaveRows(const ForwardBatch& batch) {
  exit_rows_.clear();
  for (const ForwardRow& row : batch.rows) {
    if (row.layers.end == config_.num_layers || row.exit_cache_row < 0) break;
    exit_rows_.push_back(row.exit_cache_row);
  }
  if (exit_rows_.empty()) return;
  backend_->ScatterRows(
      hidden_.View(DType::kF32, static_cast<int64_t>(exit_rows_.size()), config_.hidden_size),
      exit_rows_, exit_cache_.View(DType::kF32, limits_.max_exit_rows, config_.hidden_size));
}

void LlamaModel::ComputeLayer(int index, int num_rows) {
  const Layer& layer = layers_[index];
  const DType operand = backend_->operand_dtype();
  const int heads_dim = attention_.num_heads * config_.head_dim;
  const int qkv_dim = heads_dim + 2 * attention_.num_kv_heads * config_.head_dim;
  const float eps = static_cast<float>(config_.rms_norm_eps);
  const TensorView hidden = hidden_.View(DType::kF32, num_rows, config_.hidden_size);
  const TensorView normed = normed_.View(operand, num_rows, config_.hidden_size);
  const TensorView qkv = qkv_.View(DType::kF32, num_rows, qkv_dim);
  const TensorView attended = attended_.View(operand, num_rows, heads_dim);
  const TensorView activated = activated_.View(operand, num_rows, shard_.inner.size());
  const kernels::RopeTable rope{static_cast<const float*>(rope_cos_.data()),
                                static_cast<const float*>(rope_sin_.data())};

  backend_->RmsNorm(hidden, static_cast<const float*>(layer.input_norm.data()), eps, normed);
  backend_->MatMul(normed, *layer.qkv, Backend::Epilogue::kStore, qkv);
  backend_->RopeAndAppendKv(qkv, attention_, rope, *kv_, index);
  backend_->PagedAttention(qkv, attention_, *kv_, index, attended);
  AddProduct(attended, *layer.out, hidden);

  backend_->RmsNorm(hidden, static_cast<const float*>(layer.post_attn_norm.data()), eps, normed);
  backend_->GatedMatMul(normed, *layer.gate_up, activated);
  AddProduct(activated, *layer.down, hidden);
}

// The residual stream is the same in all ranks: the first adds its part to it, the others put
// theirs in its place, and the sum of these is the new one, in all.
void LlamaModel::AddProduct(ConstTensorView a, const kernels::Matrix& w, TensorView hidden) {
  const bool adds = shard_.rank == 0;
  backend_->MatMul(a, w, adds ? Backend::Epilogue::kAdd : Backend::Epilogue::kStore, hidden);
  communicator_->AllReduceSum(hidden);
}

absl::StatusOr<Head> LlamaModel::SelectTokens(std::vector<int32_t> ids) {
  Head head;
  const std::vector<int32_t> all_ids = ids;
  std::erase_if(ids, [this](int32_t id) { return !shard_.tokens.Contains(id); });
  std::vector<int32_t> rows = ids;
  for (int32_t& row : rows) row -= static_cast<int32_t>(shard_.tokens.begin);
  RETURN_IF_ERROR(WhereMemoryLasts("the head of some tokens", [&] {
    if (!rows.empty()) head.matrix = backend_->SelectRows(*head_.matrix, rows);
    if (chooser_ != nullptr) {
      const size_t size_bytes = all_ids.size() * sizeof(int32_t);
      head.ids_on_device = backend_->Allocate(size_bytes);
      backend_->CopyToDevice(head.ids_on_device.data(), all_ids.data(), size_bytes);
      if (!is_alone()) head.part_widths = CountByRank(all_ids);
    }
    return absl::OkStatus();
  }));
  head.num_tokens = static_cast<int>(ids.size());
  head.token_ids = std::move(ids);
  return head;
}

std::vector<int32_t> LlamaModel::CountByRank(std::span<const int32_t> ids) const {
  std::vector<int32_t> counts;
  for (const IndexRange& tokens : tokens_of_ranks_) {
    const auto is_theirs = [&tokens](int32_t id) { return tokens.Contains(id); };
    counts.push_back(static_cast<int32_t>(std::count_if(ids.begin(), ids.end(), is_theirs)));
  }
  return counts;
}

const float* LlamaModel::Logits(std::span<const int32_t> rows, const Head& head) {
  return LogitsOf(HiddenStates(), rows, head);
}

TensorView LlamaModel::HiddenStates() const {
  return hidden_.View(DType::kF32, limits_.max_rows, config_.hidden_size);
}

kernels::LogitRows LlamaModel::LogitsOnDevice(std::span<const int32_t> rows, const Head& head) {
  const auto* ids = static_cast<const int32_t*>(head.ids_on_device.data());
  const TensorView own = ComputeLogits(HiddenStates(), rows, head);
  if (is_alone()) return {own, ids};
  const TensorView parts = LogitParts(static_cast<int64_t>(rows.size()), head);
  communicator_->AllGather(parts);
  return {parts, ids, head.part_widths};
}

const float* LlamaModel::ReadLogits(const kernels::LogitRows& logits) {
  if (is_alone()) return backend_->ReadBack(logits.values);
  const int64_t count = logits.values.rows / shard_.size;
  const float* own = logits.values.as<float>() + shard_.rank * count * logits.values.cols;
  return backend_->ReadBack({own, DType::kF32, count, logits.part_widths[shard_.rank]});
}

// Room for all ranks' logits of so many rows, in parts as of kernels::LogitRows.
TensorView LlamaModel::LogitParts(int64_t count, const Head& head) const {
  return logits_.View(DType::kF32, shard_.size * count,
                      *std::max_element(head.part_widths.begin(), head.part_widths.end()));
}

TensorView LlamaModel::OwnLogits(int64_t count, const Head& head) const {
  if (head.part_widths.empty()) return logits_.View(DType::kF32, count, head.num_tokens);
  TensorView own = LogitParts(count, head).Rows(shard_.rank * count, count);
  own.cols = head.num_tokens;
  return own;
}

const float* LlamaModel::ExitLogits(std::span<const int32_t> exit_cache_rows, const Head& head) {
  return LogitsOf(exit_cache_.View(DType::kF32, limits_.max_exit_rows, config_.hidden_size),
                  exit_cache_rows, head);
}

const float* LlamaModel::LogitsOf(const TensorView& states, std::span<const int32_t> rows,
                                  const Head& head) {
  const TensorView logits = ComputeLogits(states, rows, head);
  return head.num_tokens > 0 ? backend_->ReadBack(logits) : nullptr;
}

TensorView LlamaModel::ComputeLogits(const TensorView& states, std::span<const int32_t> rows,
                                     const Head& head) {
  const int64_t count = static_cast<int64_t>(rows.size());
  head_rows_ += count;
  if (head.num_tokens == 0) return {};
  const TensorView input = head_input_.View(DType::kF32, count, config_.hidden_size);
  const TensorView normed = normed_.View(backend_->operand_dtype(), count, config_.hidden_size);
  const TensorView logits = OwnLogits(count, head);
  backend_->GatherRows(states, rows, input);
  backend_->RmsNorm(input, static_cast<const float*>(final_norm_.data()),
                    static_cast<float>(config_.rms_norm_eps), normed);
  backend_->MatMul(normed, *head.matrix, Backend::Epilogue::kStore, logits);
  logits_computed_ += count * head.num_tokens;
  return logits;
}

double LlamaModel::HiddenNorm(int row) {
  const float* x = backend_->ReadBack(HiddenStates().Rows(row, 1));
  double sum = 0;
  for (int i = 0; i < config_.hidden_size; ++i) sum += static_cast<double>(x[i]) * x[i];
  return std::sqrt(sum);
}

}  // namespace strata
