// A checkpoint's model without an engine around it, for what drives it directly.

#ifndef STRATA_BENCH_OPENED_MODEL_H_
#define STRATA_BENCH_OPENED_MODEL_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/options.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model/model.h"
#include "engine/tokenizer/tokenizer.h"
#include "kernels/communicator.h"

namespace strata::bench {

// The devices that the options name, as many as they have ranks. Throws kernels::DeviceError.
std::vector<kernels::RankDevice> MakeRanks(const Options& options,
                                           std::chrono::milliseconds timeout);

struct OpenedModel {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::string backend;                     // in words
  std::vector<kernels::RankDevice> ranks;  // empty: the model has them
  std::unique_ptr<Model> model;
};

// `limits` of the model, by its configuration.
absl::StatusOr<OpenedModel> OpenModel(Options options,
                                      const std::function<ModelLimits(const ModelConfig&)>& limits);

}  // namespace strata::bench

#endif  // STRATA_BENCH_OPENED_MODEL_H_
