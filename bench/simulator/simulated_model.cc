#include "bench/simulator/simulated_model.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "engine/random.h"

namespace strata::sim {
namespace {

constexpr double kFinalConfidence = 0.95;

Head WholeHead() {
  Head head;
  head.num_tokens = TokenProcess::kAlphabet;
  return head;
}

ModelConfig WithAlphabet(ModelConfig config) {
  config.vocab_size = TokenProcess::kAlphabet;
  return config;
}

int NumLayers(const LayerRange& layers) { return layers.end - layers.begin; }

}  // namespace

SimulatedModel::SimulatedModel(const ModelLimits& limits, const Roofline* roofline,
                               const TokenProcess* process, VirtualClock* clock, double time_noise,
                               uint64_t seed)
    : limits_(limits),
      config_(WithAlphabet(roofline->config())),
      roofline_(roofline),
      process_(process),
      clock_(clock),
      time_noise_(time_noise),
      noise_key_(Mix64(seed)),
      head_(WholeHead()),
      kv_(static_cast<size_t>(limits.num_kv_blocks) * kernels::kKvBlockTokens),
      rows_(limits.max_rows),
      exit_cache_(limits.max_exit_rows) {}

void SimulatedModel::Forward(const ForwardBatch& batch) {
  ComputeStates(batch);
  EnterAndLeave(batch);
  CheckDepths(batch);
  Spend(roofline_->ForwardSeconds() + LayersSeconds(batch));
}

SimulatedModel::Slot& SimulatedModel::SlotAt(const ForwardBatch& batch, int32_t sequence,
                                             int position) {
  const size_t entry = static_cast<size_t>(sequence) * batch.max_blocks_per_sequence +
                       position / kernels::kKvBlockTokens;
  const size_t block = batch.block_tables[entry];
  return kv_[block * kernels::kKvBlockTokens + position % kernels::kKvBlockTokens];
}

// Positions of one sequence come in order, but for a sweep's newest draft: its predecessors have
// their states from the micro-steps.
void SimulatedModel::ComputeStates(const ForwardBatch& batch) {
  for (size_t i = 0; i < batch.rows.size(); ++i) {
    const ForwardRow& row = batch.rows[i];
    const TextState before =
        row.position == 0 ? process_->Start() : SlotAt(batch, row.sequence, row.position - 1).state;
    Slot& slot = SlotAt(batch, row.sequence, row.position);
    if (row.layers.begin > slot.depth) ++errors_;
    slot.state = process_->Append(before, row.token_id);
    slot.depth = row.layers.end;
    rows_[i] = {slot.state, row.layers.end};
    row_layers_ += NumLayers(row.layers);
  }
}

void SimulatedModel::EnterAndLeave(const ForwardBatch& batch) {
  for (size_t i = 0; i < batch.rows.size(); ++i) {
    const ForwardRow& row = batch.rows[i];
    if (row.exit_cache_row < 0) continue;
    Hidden& cached = exit_cache_[row.exit_cache_row];
    const bool is_its_own =
        cached.layer == row.layers.begin && cached.state.hash == rows_[i].state.hash;
    if (row.layers.begin > 0 && !is_its_own) ++errors_;
    if (row.layers.end < config_.num_layers) cached = rows_[i];
  }
  for (const HiddenTap& tap : batch.taps) {
    const LayerRange& layers = batch.rows[tap.row].layers;
    if (tap.layer <= layers.begin || tap.layer > layers.end) ++errors_;
    exit_cache_[tap.exit_cache_row] = {rows_[tap.row].state, tap.layer};
  }
}

void SimulatedModel::CheckDepths(const ForwardBatch& batch) {
  for (const ForwardRow& row : batch.rows) {
    if (row.position == 0) continue;
    if (SlotAt(batch, row.sequence, row.position - 1).depth < row.layers.end) ++errors_;
  }
}

// The rows of a layer are a prefix of the batch, so that each row but the last has some layers
// (maybe none) in which it is the last.
double SimulatedModel::LayersSeconds(const ForwardBatch& batch) {
  longest_.assign(batch.block_tables.size() / std::max(batch.max_blocks_per_sequence, 1), 0);
  double seconds = 0;
  LayerWork work;
  for (size_t i = 0; i < batch.rows.size(); ++i) {
    const ForwardRow& row = batch.rows[i];
    const int length = row.position + 1;
    int& longest = longest_[row.sequence];
    work.kv_tokens += std::max(0, length - longest);
    longest = std::max(longest, length);
    work.attention_pairs += length;
    ++work.num_rows;
    const int next_layers = i + 1 < batch.rows.size() ? NumLayers(batch.rows[i + 1].layers) : 0;
    const int layers = NumLayers(row.layers) - next_layers;
    if (layers > 0) seconds += layers * roofline_->LayerSeconds(work);
  }
  return seconds;
}

void SimulatedModel::Spend(double seconds) {
  const double u = ToUnitInterval(Mix64(noise_key_ ^ Mix64(num_calls_++)));
  // Uniform, of the wanted deviation.
  clock_->Advance(seconds * std::max(0.1, 1 + time_noise_ * std::sqrt(12.0) * (u - 0.5)));
}

const float* SimulatedModel::Logits(std::span<const int32_t> rows, const Head& head) {
  return LogitsOf(rows_, rows, head);
}

const float* SimulatedModel::ExitLogits(std::span<const int32_t> exit_cache_rows,
                                        const Head& head) {
  return LogitsOf(exit_cache_, exit_cache_rows, head);
}

const float* SimulatedModel::LogitsOf(const std::vector<Hidden>& states,
                                      std::span<const int32_t> rows, const Head& head) {
  logits_.resize(rows.size() * head.num_tokens);
  for (size_t i = 0; i < rows.size(); ++i) {
    FillLogits(states[rows[i]], head, logits_.data() + i * head.num_tokens);
  }
  head_rows_ += static_cast<int64_t>(rows.size());
  logits_computed_ += static_cast<int64_t>(rows.size()) * head.num_tokens;
  const int num_tokens = head.token_ids.empty() ? roofline_->config().vocab_size : head.num_tokens;
  Spend(roofline_->HeadSeconds(static_cast<int>(rows.size()), num_tokens));
  return logits_.data();
}

void SimulatedModel::FillLogits(const Hidden& row, const Head& head, float* logits) const {
  TokenProcess::Guess guess{process_->NextToken(row.state), kFinalConfidence};
  if (row.layer < config_.num_layers) {
    guess = process_->GuessAt(row.state, row.layer);
  }
  const double rest = (1 - guess.confidence) / (TokenProcess::kAlphabet - 1);
  const auto likely = static_cast<float>(std::log(guess.confidence));
  const auto unlikely = static_cast<float>(std::log(rest));
  for (int i = 0; i < head.num_tokens; ++i) {
    const TokenId token = head.token_ids.empty() ? i : head.token_ids[i];
    logits[i] = token == guess.token ? likely : unlikely;
  }
}

absl::StatusOr<Head> SimulatedModel::SelectTokens(std::vector<int32_t> ids) {
  Head head;
  head.num_tokens = static_cast<int>(ids.size());
  head.token_ids = std::move(ids);
  return head;
}

}  // namespace strata::sim
