#include "tests/support/test_models.h"

#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>

namespace strata {
namespace {

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "test set-up: %s\n", value.status().ToString().c_str());
    std::abort();
  }
  return *std::move(value);
}

std::unique_ptr<kernels::Backend> OpenBackend(const TestDevice& device) {
  return kernels::CreateCpuBackend({device.weights, device.num_threads, device.isa});
}

}  // namespace

std::string DemoModel() { return STRATA_SOURCE_DIR "/models/demo"; }
std::string TinyModel() { return STRATA_SOURCE_DIR "/tests/goldens/models/tiny-llama3"; }

std::vector<TestDevice> AllTestDevices() {
  std::vector<TestDevice> devices;
  for (const std::string& isa : kernels::AvailableCpuIsas()) {
    for (const kernels::WeightFormat weights : kernels::kAllWeightFormats) {
      devices.push_back({isa, weights, 1});
    }
  }
  return devices;
}

std::string NameOf(const TestDevice& device) {
  return device.isa + "_" + kernels::NameOf(device.weights);
}

int64_t KvBytes(const ModelConfig& config, const TestDevice& device, int num_tokens) {
  const int blocks = (num_tokens + kernels::kKvBlockTokens - 1) / kernels::kKvBlockTokens;
  return LlamaModel::KvBlockBytes(config, *OpenBackend(device)) * blocks;
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
  return OrDie(Engine::Create(std::move(checkpoint), std::move(tokenizer), OpenBackend(device),
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
  test.backend = OpenBackend(device);
  ModelLimits limits;
  limits.max_rows = 512;
  limits.max_exit_rows = 64;
  limits.max_context = 512;
  limits.num_kv_blocks = 32;
  test.model = OrDie(LlamaModel::Create(*test.checkpoint, test.backend.get(), limits));
  return test;
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
