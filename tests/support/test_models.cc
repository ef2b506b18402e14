#include "tests/support/test_models.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "kernels/cpu/cpu_ranks.h"

namespace strata {
namespace {

// A busy machine may put a rank aside for long.
constexpr std::chrono::minutes kRankTimeout{2};

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "test set-up: %s\n", value.status().ToString().c_str());
    std::abort();
  }
  return *std::move(value);
}

std::vector<kernels::RankDevice> OpenRanks(const TestDevice& device) {
  return kernels::CreateCpuRanks({device.weights, device.num_threads, device.isa}, device.num_ranks,
                                 kRankTimeout);
}

ModelLimits TestModelLimits() {
  ModelLimits limits;
  limits.max_rows = 512;
  limits.max_exit_rows = 64;
  limits.max_context = 512;
  limits.num_kv_blocks = 32;
  return limits;
}

}  // namespace

std::string DemoModel() { return STRATA_SOURCE_DIR "/models/demo"; }
std::string TinyModel() { return STRATA_SOURCE_DIR "/tests/goldens/models/tiny-llama3"; }

std::vector<TestDevice> AllTestDevices() {
  std::vector<TestDevice> devices;
  for (const std::string& isa : kernels::AvailableCpuIsas()) {
    for (const kernels::WeightFormat weights : kernels::kCpuWeightFormats) {
      if (isa == "amx" && weights == kernels::WeightFormat::kF32) continue;  // avx512's kernels
      devices.push_back({isa, weights, 1});
    }
  }
  return devices;
}

std::string NameOf(const TestDevice& device) {
  const std::string name = device.isa + "_" + kernels::NameOf(device.weights);
  return device.num_ranks == 1 ? name : name + "_tp" + std::to_string(device.num_ranks);
}

int64_t KvBytes(const ModelConfig& config, const TestDevice& device, int num_tokens) {
  const int blocks = (num_tokens + kernels::kKvBlockTokens - 1) / kernels::kKvBlockTokens;
  return OrDie(KvBlockBytesOfRanks(config, OpenRanks(device))) * blocks;
}

EngineOptions TestEngineOptions() {
  EngineOptions options;
  options.kv_cache_bytes = 64 << 20;
  options.max_sequences = 16;
  options.max_batch_tokens = 128;
  options.cost_profile_time = std::chrono::milliseconds(20);
  return options;
}

std::unique_ptr<Engine> OpenEngine(const std::string& folder, const TestDevice& device,
                                   const EngineOptions& options, EngineObserver* observer,
                                   const Clock* clock) {
  auto checkpoint = OrDie(Checkpoint::Open(folder));
  auto tokenizer = OrDie(Tokenizer::Open(folder, checkpoint->config().vocab_size));
  return OrDie(Engine::Create(std::move(checkpoint), std::move(tokenizer), OpenRanks(device),
                              options, observer, clock));
}

CollectedSample Generate(Engine& engine, const GenerateRequest& request) {
  auto sink = std::make_shared<CollectingSink>();
  OrDie(engine.Submit(request, sink));
  const absl::Status status = sink->Wait();
  if (!status.ok()) OrDie(absl::StatusOr<int>(status));
  return sink->sample();
}

TestModel OpenModel(const std::string& folder, const TestDevice& device) {
  TestModel test;
  test.checkpoint = OrDie(Checkpoint::Open(folder));
  test.backend = kernels::CreateCpuBackend({device.weights, device.num_threads, device.isa});
  test.model = OrDie(LlamaModel::Create(*test.checkpoint, test.backend.get(), TestModelLimits()));
  return test;
}

std::unique_ptr<TpGroup> OpenGroup(const std::string& folder, const TestDevice& device) {
  return OrDie(TpGroup::Create(OrDie(Checkpoint::Open(folder)), OpenRanks(device),
                               TestModelLimits(), kRankTimeout));
}

ForwardBatch OneSequence(const std::vector<TokenId>& ids, int first_position, LayerRange layers) {
  ForwardBatch batch;
  for (size_t i = 0; i < ids.size(); ++i) {
    batch.rows.push_back({ids[i], first_position + static_cast<int32_t>(i), 0, layers, -1});
  }
  batch.block_tables.resize(32);
  std::iota(batch.block_tables.begin(), batch.block_tables.end(), 0);
  batch.max_blocks_per_sequence = 32;
  return batch;
}

}  // namespace strata
