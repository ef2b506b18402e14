#include "bench/benchmarks.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "bench/machine.h"
#include "bench/model_cost.h"
#include "bench/opened_model.h"
#include "bench/overhead.h"
#include "bench/policy.h"
#include "bench/quality.h"
#include "bench/session.h"
#include "bench/speculative.h"
#include "bench/throughput.h"
#include "bench/verification.h"
#include "bench/workload.h"
#include "engine/checkpoint/packed_file.h"
#include "engine/engine.h"
#include "engine/model/tp_group.h"
#include "engine/status_macros.h"

namespace strata::bench {
namespace {

constexpr double kMegabyte = 1e6;
// Of the prompt of the speculative rows.
constexpr int kMaxPromptTokens = 512;

// An engine, and what it holds.
struct OpenedEngine {
  std::unique_ptr<Engine> engine;
  double kv_bytes_per_token = 0;
  double load_seconds = 0;
};

// Sets options.weights to what the folder and options.dtype come to.
absl::StatusOr<OpenedEngine> OpenEngine(Options& options, RoundTotals* rounds) {
  const Instant start = std::chrono::steady_clock::now();
  OpenedEngine result;
  ASSIGN_OR_RETURN(auto checkpoint, Checkpoint::Open(options.model));
  ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::Open(options.model, checkpoint->config().vocab_size));
  ASSIGN_OR_RETURN(options.weights, ChooseWeightFormat(*checkpoint, options.dtype));
  const Room room = RoomFor(options, checkpoint->config());
  try {
    EngineOptions engine_options;
    auto ranks = MakeRanks(options, engine_options.rank_timeout);
    ASSIGN_OR_RETURN(const int64_t block_bytes, KvBlockBytesOfRanks(checkpoint->config(), ranks));
    result.kv_bytes_per_token = static_cast<double>(block_bytes) / kernels::kKvBlockTokens;
    engine_options.max_sequences = room.max_sequences;
    engine_options.max_context = room.max_context;
    engine_options.prefix_cache = false;  // measured prompts are computed each time
    engine_options.kv_cache_bytes = room.kv_tokens / kernels::kKvBlockTokens * block_bytes;
    ASSIGN_OR_RETURN(result.engine,
                     Engine::Create(std::move(checkpoint), std::move(tokenizer), std::move(ranks),
                                    engine_options, rounds, nullptr));
  } catch (const kernels::DeviceError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  result.load_seconds = Seconds(std::chrono::steady_clock::now() - start);
  return result;
}

void AddMemory(const OpenedEngine& opened, const ModelCost& cost, Report* report) {
  const ResidentMemory memory = ReadResidentMemory();
  const double kv_tokens =
      static_cast<double>(opened.engine->GetLoad().kv_blocks_total) * kernels::kKvBlockTokens;
  const double needed_bytes = cost.weight_bytes() + kv_tokens * opened.kv_bytes_per_token;
  const auto add = [&](const char* name, int64_t bytes) {
    report->rows.push_back({.name = name,
                            .value = static_cast<double>(bytes) / kMegabyte,
                            .unit = "MB",
                            .limit = needed_bytes / kMegabyte});
  };
  add("memory_resident", memory.total_bytes);
  add("memory_anonymous", memory.anonymous_bytes);
}

}  // namespace

Room RoomFor(const Options& options, const ModelConfig& config) {
  const auto asked = [&](Group group) { return options.groups.contains(group); };
  const auto whole_blocks = [](int64_t tokens) {
    constexpr int64_t kBlock = kernels::kKvBlockTokens;
    return (tokens + kBlock - 1) / kBlock * kBlock;
  };
  Room room;
  room.max_context = kMaxPromptTokens + options.decode_tokens;
  const auto hold = [&](const std::vector<int>& lengths, int more) {
    for (const int length : lengths) {
      if (length + more <= config.max_position_embeddings) {
        room.max_context = std::max(room.max_context, length + more);
      }
    }
  };
  if (asked(Group::kPrefill)) hold(options.prefill_tokens, 1);
  if (asked(Group::kContext)) hold(options.contexts, 0);
  if (!options.text.empty()) hold({kQualityTokens}, 0);
  room.max_context = std::min(room.max_context, config.max_position_embeddings);
  room.kv_tokens = whole_blocks(room.max_context);
  if (asked(Group::kDecode)) {
    room.max_sequences = *std::max_element(options.batch_sizes.begin(), options.batch_sizes.end());
    // One more for the token that a sequence is about to append.
    const int64_t each = whole_blocks(kBatchPromptTokens + options.decode_tokens + 1);
    room.kv_tokens = std::max(room.kv_tokens, room.max_sequences * each);
  }
  return room;
}

absl::StatusOr<Report> RunBenchmarks(const Options& asked_options) {
  Options options = asked_options;
  Report report;
  // These do without an engine; what they took is free again before there is one.
  if (options.groups.erase(Group::kVerification) > 0) {
    RETURN_IF_ERROR(MeasureVerification(options, report));
  }
  if (options.groups.erase(Group::kPolicy) > 0) RETURN_IF_ERROR(MeasurePolicy(options, report));
  if (options.groups.erase(Group::kOverhead) > 0) {
    RETURN_IF_ERROR(MeasureOverhead(options, report));
  }
  if (options.groups.empty() && options.text.empty()) return report;
  RoundTotals rounds;
  ASSIGN_OR_RETURN(const OpenedEngine opened, OpenEngine(options, &rounds));
  Engine& engine = *opened.engine;
  const ModelCost cost(engine.checkpoint().config(), kernels::BytesPerWeight(options.weights),
                       opened.kv_bytes_per_token);
  report.model = engine.checkpoint().config().name;
  report.backend = engine.backend_description();
  if (!options.on_gpu) report.limits = MeasureLimits(options.num_threads);

  const Session session{options, engine, rounds, cost, report};
  const auto asked = [&](Group group) { return options.groups.contains(group); };
  if (asked(Group::kStartUp)) {
    report.rows.push_back({.name = "start_up", .value = opened.load_seconds, .unit = "s"});
  }
  if (asked(Group::kPrefill)) RETURN_IF_ERROR(MeasurePrefill(session));
  if (asked(Group::kDecode)) RETURN_IF_ERROR(MeasureDecode(session));
  if (asked(Group::kContext)) RETURN_IF_ERROR(MeasureContext(session));
  if (asked(Group::kSpeculative)) RETURN_IF_ERROR(MeasureSpeculative(session));
  if (!options.text.empty()) RETURN_IF_ERROR(MeasureQuality(session));
  // A GPU's memory is not the process's.
  if (asked(Group::kMemory) && !options.on_gpu) AddMemory(opened, cost, &report);
  return report;
}

}  // namespace strata::bench
