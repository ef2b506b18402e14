// What a model takes on some devices, by its configuration alone, before any
// weight is read: memory of each rank, room for keys and values, and how fast
// it can be.

#ifndef STRATA_ENGINE_PLANNING_PLAN_H_
#define STRATA_ENGINE_PLANNING_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/engine.h"
#include "engine/planning/hardware.h"
#include "kernels/weight_format.h"

namespace strata {

struct PlanOptions {
  Hardware hardware;
  int num_ranks = 1;
  kernels::WeightFormat weights = kernels::WeightFormat::kBF16;
  EngineOptions engine;
};

// Bytes that one rank allocates. Norms are left out, and what a backend pads.
struct RankMemory {
  double weights = 0;    // matrices
  double embedding = 0;  // 0 where it is read from the checkpoint's file
  double workspace = 0;  // activations
  double choosing = 0;   // of tokens, where devices do that
  double exit_cache = 0;
  double kv = 0;

  double total() const { return weights + embedding + workspace + choosing + exit_cache + kv; }
};

// Speed of decoding, in tokens a second.
struct PlannedSpeed {
  double limit = 0;     // bandwidth, arithmetic and nothing else
  double expected = 0;  // with the efficiencies and overheads of Hardware
};

// Speculation of one sequence with the number of drafts that suits its acceptance best.
struct PlannedSpeculation {
  double acceptance = 0;  // of each draft, independently
  int num_drafts = 0;     // 0: drafting does not pay
  PlannedSpeed speed;
};

struct Plan {
  ModelConfig config;
  PlanOptions options;
  std::vector<RankMemory> ranks;
  double kv_bytes_per_token = 0;  // of all ranks, copies included
  int64_t kv_tokens = 0;          // in a pool of engine.kv_cache_bytes
  // What fits in nine tenths of the devices' memory beside all the rest; negative: the rest alone
  // does not.
  int64_t kv_tokens_that_fit = 0;
  int context_tokens = 0;  // that the speeds are planned behind
  PlannedSpeed one_sequence;
  int num_sequences = 1;       // of that context in the pool, at most engine.max_sequences
  PlannedSpeed all_sequences;  // so many together
  int exit_layer = 0;          // 0: the model is too shallow to speculate
  std::vector<PlannedSpeculation> speculation;

  bool fits() const { return kv_tokens_that_fit >= kv_tokens; }
};

// Errors: INVALID_ARGUMENT: options against the checkpoint, a model that cannot be split over the
// ranks, more ranks than devices, weights that the devices have no kernels for.
absl::StatusOr<Plan> MakePlan(const ModelConfig& config, const PlanOptions& options);

std::string ToText(const Plan& plan);

}  // namespace strata

#endif  // STRATA_ENGINE_PLANNING_PLAN_H_
