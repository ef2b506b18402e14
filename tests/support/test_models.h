// Opens the checkpoints that tests run on.

#ifndef STRATA_TESTS_SUPPORT_TEST_MODELS_H_
#define STRATA_TESTS_SUPPORT_TEST_MODELS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/model/llama_model.h"
#include "engine/model/tp_group.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/support/collecting_sink.h"

namespace strata {

// models/demo: trained with LayerSkip, 16 layers, sentencepiece.
std::string DemoModel();
// tests/goldens/models/tiny-llama3: random weights, 6 layers, byte-level BPE.
std::string TinyModel();

// A CPU kernel set with a weight type.
struct TestDevice {
  std::string isa;
  kernels::WeightFormat weights = kernels::WeightFormat::kF32;
  int num_threads = 1;  // of all ranks, each having one at least
  int num_ranks = 1;
};
// Every kernel set this CPU has, with every weight format, on one thread.
std::vector<TestDevice> AllTestDevices();
std::string NameOf(const TestDevice& device);

// Bytes of KV that one sequence of `num_tokens` takes.
int64_t KvBytes(const ModelConfig& config, const TestDevice& device, int num_tokens);

// The rest end the test program on failure: a broken checkout is no test result.
std::unique_ptr<Engine> OpenEngine(const std::string& folder, const TestDevice& device,
                                   const EngineOptions& options, EngineObserver* observer = nullptr,
                                   const Clock* clock = nullptr);
// Small pools that suit the test models.
EngineOptions TestEngineOptions();

// Runs a request of one sample to its end, which must be a success.
CollectedSample Generate(Engine& engine, const GenerateRequest& request);

// A model without an engine, and what it needs.
struct TestModel {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<LlamaModel> model;
};
TestModel OpenModel(const std::string& folder, const TestDevice& device);
// The same over device.num_ranks.
std::unique_ptr<TpGroup> OpenGroup(const std::string& folder, const TestDevice& device);

// Rows of one sequence in KV blocks 0, 1, ...: `ids` at positions from `first_position` on.
ForwardBatch OneSequence(const std::vector<TokenId>& ids, int first_position, LayerRange layers);

}  // namespace strata

#endif  // STRATA_TESTS_SUPPORT_TEST_MODELS_H_
