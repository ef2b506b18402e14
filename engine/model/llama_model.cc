#include "engine/model/llama_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "engine/checkpoint/model_tensors.h"
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

}  // namespace

LlamaModel::LlamaModel(const ModelConfig& config, Backend* backend, const ModelLimits& limits)
    : config_(config),
      limits_(limits),
      backend_(backend),
      attention_{config.num_heads, config.num_kv_heads, config.head_dim} {}

absl::StatusOr<std::unique_ptr<LlamaModel>> LlamaModel::Create(const Checkpoint& checkpoint,
                                                               Backend* backend,
                                                               const ModelLimits& limits) {
  std::unique_ptr<LlamaModel> model(new LlamaModel(checkpoint.config(), backend, limits));
  RETURN_IF_ERROR(WhereMemoryLasts("loading the model", [&]() -> absl::Status {
    RETURN_IF_ERROR(model->LoadWeights(checkpoint));
    model->AllocateActivations();
    return absl::OkStatus();
  }));
  return model;
}

int64_t LlamaModel::KvBlockBytes(const ModelConfig& config, Backend& backend) {
  const std::unique_ptr<kernels::KvCache> one_block =
      backend.CreateKvCache({config.num_layers, config.num_kv_heads, config.head_dim, 1});
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
    layer.input_norm = norm("input_layernorm");
    layer.post_attn_norm = norm("post_attention_layernorm");
    const LayerMatrices matrices = MatricesOfLayer(config_, i);
    ASSIGN_OR_RETURN(layer.qkv, loader.Load(matrices.qkv));
    ASSIGN_OR_RETURN(layer.out, loader.Load(matrices.out));
    ASSIGN_OR_RETURN(layer.gate_up, loader.Load(matrices.gate_up));
    ASSIGN_OR_RETURN(layer.down, loader.Load(matrices.down));
  }
  final_norm_ = LoadVector(checkpoint.Tensor("model.norm.weight"));
  embedding_ = backend_->LoadEmbedding(checkpoint.Tensor(kEmbeddingTensor));
  ASSIGN_OR_RETURN(head_.matrix, loader.Load(HeadMatrix(config_)));
  head_.num_tokens = config_.vocab_size;
  return absl::OkStatus();
}

void LlamaModel::AllocateActivations() {
  const size_t operand = kernels::SizeOf(backend_->operand_dtype());
  const size_t rows = limits_.max_rows;
  const size_t heads_dim = static_cast<size_t>(config_.num_heads) * config_.head_dim;
  const size_t kv_dim = static_cast<size_t>(config_.num_kv_heads) * config_.head_dim;
  hidden_ = backend_->Allocate(rows * config_.hidden_size * sizeof(float));
  exit_cache_ = backend_->Allocate(static_cast<size_t>(limits_.max_exit_rows) *
                                   config_.hidden_size * sizeof(float));
  normed_ = backend_->Allocate(std::max<size_t>(rows, limits_.max_logit_rows) *
                               config_.hidden_size * operand);
  qkv_ = backend_->Allocate(rows * (heads_dim + 2 * kv_dim) * sizeof(float));
  attended_ = backend_->Allocate(rows * heads_dim * operand);
  activated_ = backend_->Allocate(rows * config_.intermediate_size * operand);
  head_input_ = backend_->Allocate(static_cast<size_t>(limits_.max_logit_rows) *
                                   config_.hidden_size * sizeof(float));
  logits_ = backend_->Allocate(static_cast<size_t>(limits_.max_logit_rows) * config_.vocab_size *
                               sizeof(float));
  const HostRopeTable rope = MakeRopeTable(config_, limits_.max_context);
  const size_t rope_bytes = rope.cos.size() * sizeof(float);
  rope_cos_ = backend_->Allocate(rope_bytes);
  rope_sin_ = backend_->Allocate(rope_bytes);
  backend_->CopyToDevice(rope_cos_.data(), rope.cos.data(), rope_bytes);
  backend_->CopyToDevice(rope_sin_.data(), rope.sin.data(), rope_bytes);
  kv_ = backend_->CreateKvCache(
      {config_.num_layers, config_.num_kv_heads, config_.head_dim, limits_.num_kv_blocks});
}

void LlamaModel::Forward(const ForwardBatch& batch) {
  if (batch.rows.empty()) return;
  BeginBatch(batch);
  EnterRows(batch);
  const auto runs = [](const ForwardRow& row, int layer) {
    return row.layers.begin <= layer && layer < row.layers.end;
  };
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    int num_rows = 0;
    while (num_rows < static_cast<int>(batch.rows.size()) && runs(batch.rows[num_rows], layer)) {
      ++num_rows;
    }
    if (num_rows > 0) ComputeLayer(layer, num_rows);
    if (!batch.taps.empty()) CopyTaps(batch, layer + 1);
  }
  LeaveRows(batch);
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
  for (const ForwardRow& row : batch.rows) {
    token_ids_.push_back(row.token_id);
    positions_.push_back(row.position);
    sequences_.push_back(row.sequence);
  }
  backend_->BeginBatch(
      {token_ids_, positions_, sequences_, batch.block_tables, batch.max_blocks_per_sequence});
}

// Rows that begin at layer 0 stand first and start from their token's
// embedding; the others go on from where they left the exit cache.
void LlamaModel::EnterRows(const ForwardBatch& batch) {
  const auto late = std::find_if(batch.rows.begin(), batch.rows.end(),
                                 [](const ForwardRow& row) { return row.layers.begin > 0; });
  const int num_embedded = static_cast<int>(late - batch.rows.begin());
  const TensorView hidden =
      hidden_.View(DType::kF32, static_cast<int64_t>(batch.rows.size()), config_.hidden_size);
  if (num_embedded > 0) backend_->Embed(*embedding_, hidden.Rows(0, num_embedded));
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
  const int heads_dim = config_.num_heads * config_.head_dim;
  const int qkv_dim = heads_dim + 2 * config_.num_kv_heads * config_.head_dim;
  const float eps = static_cast<float>(config_.rms_norm_eps);
  const TensorView hidden = hidden_.View(DType::kF32, num_rows, config_.hidden_size);
  const TensorView normed = normed_.View(operand, num_rows, config_.hidden_size);
  const TensorView qkv = qkv_.View(DType::kF32, num_rows, qkv_dim);
  const TensorView attended = attended_.View(operand, num_rows, heads_dim);
  const TensorView activated = activated_.View(operand, num_rows, config_.intermediate_size);
  const kernels::RopeTable rope{static_cast<const float*>(rope_cos_.data()),
                                static_cast<const float*>(rope_sin_.data())};

  backend_->RmsNorm(hidden, static_cast<const float*>(layer.input_norm.data()), eps, normed);
  backend_->MatMul(normed, *layer.qkv, Backend::Epilogue::kStore, qkv);
  backend_->RopeAndAppendKv(qkv, attention_, rope, *kv_, index);
  backend_->PagedAttention(qkv, attention_, *kv_, index, attended);
  backend_->MatMul(attended, *layer.out, Backend::Epilogue::kAdd, hidden);

  backend_->RmsNorm(hidden, static_cast<const float*>(layer.post_attn_norm.data()), eps, normed);
  backend_->GatedMatMul(normed, *layer.gate_up, activated);
  backend_->MatMul(activated, *layer.down, Backend::Epilogue::kAdd, hidden);
  row_layers_ += num_rows;
}

absl::StatusOr<Head> LlamaModel::SelectTokens(std::vector<int32_t> ids) {
  Head head;
  RETURN_IF_ERROR(WhereMemoryLasts("the head of some tokens", [&] {
    head.matrix = backend_->SelectRows(*head_.matrix, ids);
    return absl::OkStatus();
  }));
  head.num_tokens = static_cast<int>(ids.size());
  head.token_ids = std::move(ids);
  return head;
}

const float* LlamaModel::Logits(std::span<const int32_t> rows, const Head& head) {
  return LogitsOf(hidden_.View(DType::kF32, limits_.max_rows, config_.hidden_size), rows, head);
}

const float* LlamaModel::ExitLogits(std::span<const int32_t> exit_cache_rows, const Head& head) {
  return LogitsOf(exit_cache_.View(DType::kF32, limits_.max_exit_rows, config_.hidden_size),
                  exit_cache_rows, head);
}

// states [any, hidden]
const float* LlamaModel::LogitsOf(const TensorView& states, std::span<const int32_t> rows,
                                  const Head& head) {
  const int64_t count = static_cast<int64_t>(rows.size());
  const TensorView input = head_input_.View(DType::kF32, count, config_.hidden_size);
  const TensorView normed = normed_.View(backend_->operand_dtype(), count, config_.hidden_size);
  const TensorView logits = logits_.View(DType::kF32, count, head.num_tokens);
  backend_->GatherRows(states, rows, input);
  backend_->RmsNorm(input, static_cast<const float*>(final_norm_.data()),
                    static_cast<float>(config_.rms_norm_eps), normed);
  backend_->MatMul(normed, *head.matrix, Backend::Epilogue::kStore, logits);
  head_rows_ += count;
  logits_computed_ += count * head.num_tokens;
  return backend_->ReadBack(logits);
}

double LlamaModel::HiddenNorm(int row) {
  const float* x = backend_->ReadBack(
      hidden_.View(DType::kF32, limits_.max_rows, config_.hidden_size).Rows(row, 1));
  double sum = 0;
  for (int i = 0; i < config_.hidden_size; ++i) sum += static_cast<double>(x[i]) * x[i];
  return std::sqrt(sum);
}

}  // namespace strata
