#include "bench/opened_model.h"

#include <utility>

#include "engine/checkpoint/packed_file.h"
#include "engine/engine.h"
#include "engine/model/llama_model.h"
#include "engine/model/tp_group.h"
#include "engine/status_macros.h"
#include "kernels/cpu/cpu_ranks.h"
#include "kernels/cuda/cuda_ranks.h"

namespace strata::bench {

std::vector<kernels::RankDevice> MakeRanks(const Options& options,
                                           std::chrono::milliseconds timeout) {
  if (options.on_gpu) {
    kernels::CudaBackendOptions cuda;
    cuda.weights = options.weights;
    cuda.deterministic = options.deterministic;
    return kernels::CreateCudaRanks(cuda, options.tensor_parallel, timeout);
  }
  return kernels::CreateCpuRanks({.weights = options.weights,
                                  .num_threads = options.num_threads,
                                  .isa = "",
                                  .pin_threads = options.pin_threads},
                                 options.tensor_parallel, timeout);
}

absl::StatusOr<OpenedModel> OpenModel(
    Options options, const std::function<ModelLimits(const ModelConfig&)>& limits) {
  const std::chrono::milliseconds timeout = EngineOptions().rank_timeout;
  OpenedModel opened;
  ASSIGN_OR_RETURN(opened.checkpoint, Checkpoint::Open(options.model));
  const ModelConfig& config = opened.checkpoint->config();
  ASSIGN_OR_RETURN(opened.tokenizer, Tokenizer::Open(options.model, config.vocab_size));
  ASSIGN_OR_RETURN(options.weights, ChooseWeightFormat(*opened.checkpoint, options.dtype));
  try {
    opened.ranks = MakeRanks(options, timeout);
    opened.backend = opened.ranks[0].backend->Description();
    if (opened.ranks.size() == 1) {
      ASSIGN_OR_RETURN(
          opened.model,
          LlamaModel::Create(*opened.checkpoint, opened.ranks[0].backend.get(), limits(config)));
    } else {
      ASSIGN_OR_RETURN(opened.model, TpGroup::Create(opened.checkpoint, std::move(opened.ranks),
                                                     limits(config), timeout));
    }
  } catch (const kernels::DeviceError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  return opened;
}

}  // namespace strata::bench
