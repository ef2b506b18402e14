#include "engine/model/tp_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <numeric>
#include <system_error>
#include <utility>

#include "engine/model/group_chooser.h"
#include "engine/model/llama_model.h"
#include "engine/model/rank_threads.h"
#include "engine/status_macros.h"

namespace strata {
namespace {

// The ranks' heads, of some tokens or of all: a rank's tokens come before those of the next.
struct HeadParts {
  std::vector<Head> owned;            // empty: the models' own
  std::vector<const Head*> of_ranks;  // by rank
  std::vector<int> first_columns;     // of each rank's tokens among all, and the number of all

  int num_tokens() const { return first_columns.back(); }
};

// A head's matrix in parts.
class ShardedMatrix final : public kernels::Matrix {
 public:
  explicit ShardedMatrix(std::shared_ptr<const HeadParts> parts) : parts_(std::move(parts)) {}

  const std::shared_ptr<const HeadParts>& parts() const { return parts_; }
  size_t size_bytes() const override {
    size_t size = 0;
    for (const Head* part : parts_->of_ranks) size += part->matrix ? part->matrix->size_bytes() : 0;
    return size;
  }

 private:
  const std::shared_ptr<const HeadParts> parts_;
};

Head Join(std::shared_ptr<HeadParts> parts) {
  Head head;
  parts->first_columns.push_back(0);
  for (const Head* part : parts->of_ranks) {
    head.num_tokens += part->num_tokens;
    head.token_ids.insert(head.token_ids.end(), part->token_ids.begin(), part->token_ids.end());
    parts->first_columns.push_back(head.num_tokens);
  }
  head.matrix = std::make_unique<ShardedMatrix>(std::move(parts));
  return head;
}

const std::shared_ptr<const HeadParts>& PartsOf(const Head& head) {
  return static_cast<const ShardedMatrix&>(*head.matrix).parts();
}

}  // namespace

// What the ranks' threads touch: it outlives those that are left behind.
struct TpGroup::Ranks {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::shared_ptr<std::vector<kernels::RankDevice>> devices;
  std::vector<std::unique_ptr<LlamaModel>> models;

  std::mutex mu;
  absl::Status load_status;  // guarded by mu: of the first rank that failed to load

  std::vector<float> logits;  // [max_logit_rows, vocab]; each rank writes its tokens' columns

  // Where devices choose tokens; empty: they do not.
  RankChoices choices;
  std::shared_ptr<const HeadParts> head_on_device;  // of the logits that are left there

  void Load(int rank, const ModelLimits& limits);
  // Writes a rank's columns of some rows from `from`.
  void WriteColumns(int rank, const float* from, size_t num_rows, const HeadParts& head);
};

// Throws what ends the group.
void TpGroup::Ranks::Load(int rank, const ModelLimits& limits) {
  kernels::RankDevice& device = (*devices)[rank];
  absl::StatusOr<std::unique_ptr<LlamaModel>> model =
      LlamaModel::Create(*checkpoint, device.backend.get(), limits, device.communicator.get());
  if (model.ok()) {
    models[rank] = *std::move(model);
    return;
  }
  absl::Status status = model.status();
  if (absl::IsResourceExhausted(status)) {
    status = absl::ResourceExhaustedError(
        fmt::format("rank {} of {}: {}", rank, devices->size(), std::string(status.message())));
  }
  {
    std::lock_guard lock(mu);
    if (load_status.ok()) load_status = status;
  }
  throw kernels::CommunicatorError(std::string(status.message()));
}

void TpGroup::Ranks::WriteColumns(int rank, const float* from, size_t num_rows,
                                  const HeadParts& head) {
  const int width = head.of_ranks[rank]->num_tokens;
  float* to = logits.data() + head.first_columns[rank];
  for (size_t row = 0; row < num_rows; ++row) {
    std::copy_n(from + row * width, width, to + row * head.num_tokens());
  }
}

absl::StatusOr<std::unique_ptr<TpGroup>> TpGroup::Create(
    std::shared_ptr<const Checkpoint> checkpoint, std::vector<kernels::RankDevice> ranks,
    const ModelLimits& limits, std::chrono::milliseconds timeout) {
  auto shared = std::make_shared<Ranks>();
  shared->checkpoint = std::move(checkpoint);
  shared->devices = std::make_shared<std::vector<kernels::RankDevice>>(std::move(ranks));
  shared->models.resize(shared->devices->size());
  shared->logits.resize(static_cast<size_t>(limits.max_logit_rows) *
                        shared->checkpoint->config().vocab_size);
  try {
    auto threads = std::make_unique<RankThreads>(shared->devices, timeout);
    threads->Run([shared, limits](int rank) { shared->Load(rank, limits); });
    return std::unique_ptr<TpGroup>(new TpGroup(shared, std::move(threads), limits));
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(
        fmt::format("cannot start {} threads: {}", shared->devices->size(), error.what()));
  } catch (const kernels::CommunicatorError& error) {
    std::lock_guard lock(shared->mu);
    return shared->load_status.ok() ? absl::InternalError(error.what()) : shared->load_status;
  }
}

TpGroup::TpGroup(std::shared_ptr<Ranks> ranks, std::unique_ptr<RankThreads> threads,
                 const ModelLimits& limits)
    : ranks_(std::move(ranks)), threads_(std::move(threads)), limits_(limits) {
  auto parts = std::make_shared<HeadParts>();
  for (const auto& model : ranks_->models) parts->of_ranks.push_back(&model->head());
  head_ = Join(std::move(parts));
  for (const auto& model : ranks_->models) {
    if (model->choosing() == nullptr) return;
    ranks_->choices.push_back({model->choosing(), {}, {}});
  }
  chooser_ = std::make_unique<GroupChooser>(std::shared_ptr<RankChoices>(ranks_, &ranks_->choices),
                                            threads_.get());
}

TpGroup::~TpGroup() = default;

void TpGroup::Forward(const ForwardBatch& batch) {
  threads_->Run([ranks = ranks_, batch](int rank) { ranks->models[rank]->Forward(batch); });
}

void TpGroup::Synchronize() {
  threads_->Run([ranks = ranks_](int rank) { ranks->models[rank]->Synchronize(); });
}

const float* TpGroup::GatherLogits(LogitsOfRank logits, std::span<const int32_t> rows,
                                   const Head& head) {
  threads_->Run([ranks = ranks_, logits, rows = std::vector<int32_t>(rows.begin(), rows.end()),
                 parts = PartsOf(head)](int rank) {
    LlamaModel* const model = ranks->models[rank].get();
    const float* own = (model->*logits)(rows, *parts->of_ranks[rank]);
    ranks->WriteColumns(rank, own, rows.size(), *parts);
  });
  return ranks_->logits.data();
}

kernels::LogitRows TpGroup::LogitsOnDevice(std::span<const int32_t> rows, const Head& head) {
  threads_->Run([ranks = ranks_, rows = std::vector<int32_t>(rows.begin(), rows.end()),
                 parts = PartsOf(head)](int rank) {
    RankChoice& own = ranks->choices[rank];
    own.logits = own.model->LogitsOnDevice(rows, *parts->of_ranks[rank]);
  });
  ranks_->head_on_device = PartsOf(head);
  return ranks_->choices.front().logits;
}

const float* TpGroup::ReadLogits(const kernels::LogitRows& logits) {
  const size_t num_rows = logits.values.rows / ranks_->choices.size();
  threads_->Run([ranks = ranks_, num_rows, parts = ranks_->head_on_device](int rank) {
    const RankChoice& own = ranks->choices[rank];
    ranks->WriteColumns(rank, own.model->ReadLogits(own.logits), num_rows, *parts);
  });
  return ranks_->logits.data();
}

const float* TpGroup::Logits(std::span<const int32_t> rows, const Head& head) {
  return GatherLogits(&LlamaModel::Logits, rows, head);
}

const float* TpGroup::ExitLogits(std::span<const int32_t> exit_cache_rows, const Head& head) {
  return GatherLogits(&LlamaModel::ExitLogits, exit_cache_rows, head);
}

absl::StatusOr<Head> TpGroup::SelectTokens(std::vector<int32_t> ids) {
  const size_t count = ranks_->models.size();
  auto results = std::make_shared<std::vector<absl::StatusOr<Head>>>(count);
  try {
    threads_->Run([ranks = ranks_, results, ids = std::move(ids)](int rank) {
      (*results)[rank] = ranks->models[rank]->SelectTokens(ids);
    });
  } catch (const kernels::CommunicatorError& error) {
    return absl::InternalError(error.what());
  }
  auto parts = std::make_shared<HeadParts>();
  for (absl::StatusOr<Head>& result : *results) {
    RETURN_IF_ERROR(result.status());
    parts->owned.push_back(*std::move(result));
  }
  for (const Head& part : parts->owned) parts->of_ranks.push_back(&part);
  return Join(std::move(parts));
}

const ModelConfig& TpGroup::config() const { return ranks_->checkpoint->config(); }
// Each rank computes its part of every row in every layer.
int64_t TpGroup::row_layers() const { return ranks_->models.front()->row_layers(); }
int64_t TpGroup::head_rows() const { return ranks_->models.front()->head_rows(); }
void TpGroup::ResetCounters() {
  for (const auto& model : ranks_->models) model->ResetCounters();
}
int64_t TpGroup::logits_computed() const {
  return std::accumulate(
      ranks_->models.begin(), ranks_->models.end(), int64_t{0},
      [](int64_t sum, const auto& model) { return sum + model->logits_computed(); });
}

absl::StatusOr<int64_t> KvBlockBytesOfRanks(const ModelConfig& config,
                                            std::span<const kernels::RankDevice> ranks) {
  int64_t bytes = 0;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    ASSIGN_OR_RETURN(const ModelShard shard,
                     ShardOf(config, static_cast<int>(rank), static_cast<int>(ranks.size())));
    bytes += LlamaModel::KvBlockBytes(config, shard, *ranks[rank].backend);
  }
  return bytes;
}

}  // namespace strata
