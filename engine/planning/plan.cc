#include "engine/planning/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/checkpoint/model_shard.h"
#include "engine/checkpoint/model_tensors.h"
#include "engine/model/activations.h"
#include "engine/planning/roofline.h"
#include "engine/status_macros.h"
#include "kernels/backend.h"

namespace strata {
namespace {

using kernels::WeightFormat;

constexpr double kCheckpointBytes = 2;  // of an embedding's element: checkpoints are bf16 or f16
constexpr int kPlannedContext = 1024;
constexpr double kAcceptances[] = {0.5, 0.7, 0.9};
constexpr int kMostDrafts = 12;

double NumWeights(const ModelConfig& config, const ModelShard& shard) {
  const auto size = [](const MatrixSpec& matrix) {
    return static_cast<double>(matrix.shape.rows) * static_cast<double>(matrix.shape.cols) *
           (matrix.shape.gated ? 2 : 1);
  };
  const LayerMatrices layer = MatricesOfLayer(config, shard, 0);
  return config.num_layers *
             (size(layer.qkv) + size(layer.out) + size(layer.gate_up) + size(layer.down)) +
         size(HeadMatrix(config, shard));
}

// Of one position in all layers.
double KvBytes(const ModelConfig& config, const ModelShard& shard, WeightFormat weights) {
  const auto element = static_cast<double>(kernels::SizeOf(kernels::FloatTypeOf(weights)));
  return 2.0 * config.num_layers * static_cast<double>(shard.kv_heads.size()) * config.head_dim *
         element;
}

ModelLimits LimitsOf(const ModelConfig& config, const EngineOptions& engine) {
  ModelLimits limits;
  limits.max_rows = engine.max_batch_tokens;
  limits.max_exit_rows = engine.max_batch_tokens;
  limits.max_logit_rows = kMaxLogitRows;
  limits.proposal_bytes = engine.draft_distribution_bytes;
  limits.max_context = engine.max_context > 0 ? engine.max_context : config.max_position_embeddings;
  return limits;
}

RankMemory MemoryOf(const ModelConfig& config, const ModelShard& shard,
                    const PlanOptions& options) {
  const ModelLimits limits = LimitsOf(config, options.engine);
  const ActivationSizes activations =
      ActivationSizesOf(config, shard, limits, kernels::FloatTypeOf(options.weights),
                        /*gathers_logits=*/!options.hardware.is_host && shard.size > 1);
  RankMemory memory;
  memory.weights = NumWeights(config, shard) * kernels::BytesPerWeight(options.weights);
  if (!options.hardware.is_host) {
    memory.embedding =
        static_cast<double>(shard.tokens.size()) * config.hidden_size * kCheckpointBytes;
    memory.choosing = static_cast<double>(
        kernels::ChooserSizesOf(ChooserLimitsOf(config, shard, limits)).total());
  }
  memory.workspace = static_cast<double>(activations.workspace());
  memory.exit_cache = static_cast<double>(activations.exit_cache);
  return memory;
}

// Fills in the ranks' memory and what is left for keys and values.
absl::Status PlanMemory(Plan& plan) {
  const PlanOptions& options = plan.options;
  std::vector<double> kv_bytes;
  double most_kv = 0, most_rest = 0, rest = 0;
  for (int rank = 0; rank < options.num_ranks; ++rank) {
    ASSIGN_OR_RETURN(const ModelShard shard, ShardOf(plan.config, rank, options.num_ranks));
    plan.ranks.push_back(MemoryOf(plan.config, shard, options));
    kv_bytes.push_back(KvBytes(plan.config, shard, options.weights));
    plan.kv_bytes_per_token += kv_bytes.back();
    most_kv = std::max(most_kv, kv_bytes.back());
    most_rest = std::max(most_rest, plan.ranks.back().total());
    rest += plan.ranks.back().total();
  }
  plan.kv_tokens = static_cast<int64_t>(static_cast<double>(options.engine.kv_cache_bytes) /
                                        plan.kv_bytes_per_token);
  for (int rank = 0; rank < options.num_ranks; ++rank) {
    plan.ranks[rank].kv = static_cast<double>(plan.kv_tokens) * kv_bytes[rank];
  }
  // On a host all ranks share its memory; else the fullest device decides.
  const double usable = kUsableMemory * options.hardware.memory_bytes;
  plan.kv_tokens_that_fit = static_cast<int64_t>(
      std::floor(options.hardware.is_host ? (usable - rest) / plan.kv_bytes_per_token
                                          : (usable - most_rest) / most_kv));
  return absl::OkStatus();
}

// The same devices without losses.
Hardware WithoutOverheads(const Hardware& hardware) {
  Hardware ideal;
  ideal.num_devices = hardware.num_devices;
  ideal.memory_bytes = hardware.memory_bytes;
  ideal.read_bytes_s = hardware.read_bytes_s;
  ideal.flop_s = hardware.flop_s;
  ideal.int8_flop_s = hardware.int8_flop_s;
  ideal.all_reduce_bytes_s = hardware.all_reduce_bytes_s;
  return ideal;
}

void PlanSpeed(Plan& plan) {
  const PlanOptions& options = plan.options;
  // A host's ranks share its cores and its bandwidth.
  const int devices = options.hardware.is_host ? 1 : options.num_ranks;
  const Roofline limit(plan.config, WithoutOverheads(options.hardware), options.weights, devices);
  const Roofline expected(plan.config, options.hardware, options.weights, devices);
  const int context = plan.context_tokens;
  const auto speed = [&](int sequences) {
    return PlannedSpeed{sequences / limit.DecodeSeconds(context, sequences),
                        sequences / expected.DecodeSeconds(context, sequences)};
  };
  plan.one_sequence = speed(1);
  plan.num_sequences = static_cast<int>(
      std::clamp<int64_t>(plan.kv_tokens / context, 1, options.engine.max_sequences));
  plan.all_sequences = speed(plan.num_sequences);
  if (plan.exit_layer == 0) return;
  for (const double acceptance : kAcceptances) {
    PlannedSpeculation best{acceptance, 0, plan.one_sequence};
    for (int drafts = 1; drafts <= kMostDrafts; ++drafts) {
      const auto with_drafts = [&](const Roofline& roofline, double off) {
        return off * PredictedSpeedup(roofline, plan.exit_layer, drafts, acceptance, context,
                                      /*reuses_early_layers=*/true);
      };
      const PlannedSpeed drafted = {with_drafts(limit, plan.one_sequence.limit),
                                    with_drafts(expected, plan.one_sequence.expected)};
      if (drafted.expected > best.speed.expected) best = {acceptance, drafts, drafted};
    }
    plan.speculation.push_back(best);
  }
}

int ExitLayerOf(const ModelConfig& config, const EngineOptions& engine) {
  if (config.num_layers < 2) return 0;
  // LayerSkip trains its checkpoints to exit there.
  return engine.default_exit_layer > 0 ? engine.default_exit_layer
                                       : std::max(1, config.num_layers / 8);
}

std::string SizeToText(double bytes) {
  return bytes < 1e9 ? fmt::format("{:.1f} MB", bytes / 1e6)
                     : fmt::format("{:.2f} GB", bytes / 1e9);
}

std::string MemoryToText(const Plan& plan) {
  const auto fullest = std::max_element(
      plan.ranks.begin(), plan.ranks.end(),
      [](const RankMemory& a, const RankMemory& b) { return a.total() < b.total(); });
  const RankMemory& memory = *fullest;
  double weights = 0;
  for (const RankMemory& rank : plan.ranks) weights += rank.weights + rank.embedding;
  std::string text =
      fmt::format("Memory of {}\n", plan.ranks.size() > 1 ? "the fullest rank" : "the device");
  const auto line = [&](const char* what, double bytes) {
    text += fmt::format("  {:<12}{:>12}\n", what, SizeToText(bytes));
  };
  line("weights", memory.weights);
  line("embedding", memory.embedding);
  line("KV cache", memory.kv);
  line("exit cache", memory.exit_cache);
  line("workspace", memory.workspace);
  if (memory.choosing > 0) line("choosing", memory.choosing);
  text += fmt::format("  {:<12}{:>12} of {}{}\n", "all", SizeToText(memory.total()),
                      SizeToText(plan.options.hardware.memory_bytes),
                      plan.options.hardware.is_host ? ", shared by all ranks" : "");
  text += fmt::format("Weights of all ranks: {}\n", SizeToText(weights));
  text += fmt::format("KV cache: {:.1f} KiB a token over all ranks; {} hold {} tokens",
                      plan.kv_bytes_per_token / 1024,
                      SizeToText(static_cast<double>(plan.options.engine.kv_cache_bytes)),
                      plan.kv_tokens);
  text +=
      plan.kv_tokens_that_fit >= 0
          ? fmt::format("; {} would fit in nine tenths of the memory\n", plan.kv_tokens_that_fit)
          : "; the model does not fit even without it\n";
  return text;
}

std::string SpeedToText(const Plan& plan) {
  std::string text = fmt::format("\nDecoding behind {} tokens, tokens/s\n{:<42}{:>10}{:>12}\n",
                                 plan.context_tokens, "", "at most", "expected");
  const auto line = [&](const std::string& what, const PlannedSpeed& speed) {
    text += fmt::format("  {:<40}{:>10.1f}{:>12.1f}\n", what, speed.limit, speed.expected);
  };
  line("1 sequence", plan.one_sequence);
  const bool fills_pool = plan.num_sequences < plan.options.engine.max_sequences;
  line(fmt::format("{} sequences{}", plan.num_sequences,
                   fills_pool ? ", as many as the KV cache holds" : " together"),
       plan.all_sequences);
  for (const PlannedSpeculation& point : plan.speculation) {
    if (point.num_drafts == 0) {
      text += fmt::format("  1, exit {}, {:.0f}% accepted: drafting does not pay\n",
                          plan.exit_layer, 100 * point.acceptance);
      continue;
    }
    line(fmt::format("1, exit {}, {:.0f}% accepted, {} drafts", plan.exit_layer,
                     100 * point.acceptance, point.num_drafts),
         point.speed);
  }
  text +=
      "At most: bandwidth and arithmetic alone. Expected: with the losses and overheads of such\n"
      "software, by estimate; acceptance is the model's and the text's, and must be measured.\n";
  return text;
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const ModelConfig& config, const PlanOptions& options) {
  RETURN_IF_ERROR(ValidateOptions(options.engine, config));
  if (!options.hardware.is_host && options.num_ranks > options.hardware.num_devices) {
    return absl::InvalidArgumentError(fmt::format("{} ranks need as many devices, and {} has {}",
                                                  options.num_ranks, options.hardware.name,
                                                  options.hardware.num_devices));
  }
  if (options.hardware.is_host && options.weights == WeightFormat::kF16) {
    return absl::InvalidArgumentError("f16 weights are for GPUs: on a CPU take bf16 or f32");
  }
  Plan plan;
  plan.config = config;
  plan.options = options;
  plan.exit_layer = ExitLayerOf(config, options.engine);
  plan.context_tokens = std::min(kPlannedContext, LimitsOf(config, options.engine).max_context);
  RETURN_IF_ERROR(PlanMemory(plan));
  PlanSpeed(plan);
  return plan;
}

std::string ToText(const Plan& plan) {
  const PlanOptions& options = plan.options;
  std::string text =
      fmt::format("{} on {}, {} {}, {} weights\n\n", plan.config.name, options.hardware.description,
                  options.num_ranks, options.num_ranks == 1 ? "rank" : "ranks",
                  kernels::NameOf(options.weights));
  return text + MemoryToText(plan) + SpeedToText(plan);
}

}  // namespace strata
