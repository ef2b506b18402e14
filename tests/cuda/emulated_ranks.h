// Ranks on emulated GPUs with NCCL among them, and the engine over them.

#ifndef STRATA_TESTS_CUDA_EMULATED_RANKS_H_
#define STRATA_TESTS_CUDA_EMULATED_RANKS_H_

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "kernels/cuda/cuda_ranks.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/test_models.h"

namespace strata {

inline constexpr std::chrono::minutes kLong{5};

inline std::vector<kernels::RankDevice> OpenRanks(
    int num_ranks, std::chrono::milliseconds timeout,
    kernels::WeightFormat weights = kernels::WeightFormat::kF32,
    cuda_emulator::Schedule schedule = cuda_emulator::Schedule::kForward,
    size_t memory_bytes = size_t{1} << 30, bool deterministic = true) {
  cuda_emulator::Configure({.schedule = schedule,
                            .lazy_streams = true,
                            .num_devices = num_ranks,
                            .memory_bytes = memory_bytes});
  return kernels::CreateCudaRanks({weights, 0, deterministic}, num_ranks, timeout);
}

inline EngineOptions SmallOptions() {
  EngineOptions options;
  options.max_context = 96;
  options.kv_cache_bytes = 4 << 20;
  options.max_sequences = 6;
  options.max_batch_tokens = 48;
  return options;
}

inline absl::StatusOr<std::unique_ptr<Engine>> OpenOver(
    std::vector<kernels::RankDevice> ranks, const EngineOptions& options = SmallOptions()) {
  auto checkpoint = Checkpoint::Open(TinyModel());
  auto tokenizer = Tokenizer::Open(TinyModel(), (*checkpoint)->config().vocab_size);
  return Engine::Create(*std::move(checkpoint), *std::move(tokenizer), std::move(ranks), options,
                        nullptr, nullptr);
}

}  // namespace strata

#endif  // STRATA_TESTS_CUDA_EMULATED_RANKS_H_
