// The whole engine on emulated GPUs: the reference's tokens, the CPU backend's tokens, and the
// same tokens whatever runs beside them (I1).

#include "engine/engine.h"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "nlohmann/json.hpp"
#include "tests/cuda/small_requests.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

using cuda_emulator::Schedule;
using kernels::WeightFormat;
using nlohmann::json;

// Of the goldens: emulation is slow.
constexpr size_t kLongestPrompt = 40;
constexpr int kMostTokens = 12;

// By which logits may be off: their operands are rounded, by 2^-9 of a term each in bf16, by 2^-12
// in f16.
constexpr float kBf16Margin = 0.1f;
constexpr float kF16Margin = kBf16Margin / 8;

std::unique_ptr<Engine> OpenOn(std::unique_ptr<kernels::Backend> backend,
                               int max_prefill_chunk = 0) {
  EngineOptions options;
  options.max_context = 96;
  options.kv_cache_bytes = 2 << 20;
  options.max_sequences = 6;
  options.max_batch_tokens = 48;
  options.max_prefill_chunk = max_prefill_chunk;
  auto checkpoint = Checkpoint::Open(TinyModel());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto tokenizer = Tokenizer::Open(TinyModel(), (*checkpoint)->config().vocab_size);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  auto engine = Engine::Create(*std::move(checkpoint), *std::move(tokenizer), std::move(backend),
                               options, nullptr, nullptr);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

std::unique_ptr<Engine> OpenCuda(WeightFormat weights, Schedule schedule, bool deterministic = true,
                                 int max_prefill_chunk = 0, bool graphs = true) {
  cuda_emulator::Configure({.schedule = schedule, .seed = 7, .lazy_streams = true});
  return OpenOn(kernels::CreateCudaBackend({weights, 0, deterministic, graphs}), max_prefill_chunk);
}

GenerateRequest Request(std::vector<TokenId> prompt, int max_new_tokens) {
  GenerateRequest request = GreedyRequest(std::move(prompt), max_new_tokens);
  request.output.logprobs = 2;
  return request;
}

TEST(CudaEngine, GreedyTokensAreTheReferencesWhereMarginsAllow) {
  std::ifstream file(STRATA_SOURCE_DIR "/tests/goldens/tiny-llama3.json");
  const json golden = json::parse(file);
  int compared = 0;
  for (const auto& [weights, schedule] : {std::pair(WeightFormat::kF32, Schedule::kForward),
                                          std::pair(WeightFormat::kF32, Schedule::kReverse),
                                          std::pair(WeightFormat::kF32, Schedule::kRandom),
                                          std::pair(WeightFormat::kF16, Schedule::kForward)}) {
    SCOPED_TRACE(kernels::NameOf(weights));
    const double margin = weights == WeightFormat::kF32 ? 1e-3 : kF16Margin;
    const auto engine = OpenCuda(weights, schedule);
    for (const json& entry : golden["greedy"]) {
      if (entry["ids"].size() > kLongestPrompt) continue;
      const std::vector<TokenId> expected = entry["tokens"];
      const std::vector<double> margins = entry["margins"];
      const int count = std::min<int>(kMostTokens, static_cast<int>(expected.size()));
      const CollectedSample sample = Generate(*engine, Request(entry["ids"], count));
      for (int i = 0; i < count && margins[i] >= margin; ++i, ++compared) {
        ASSERT_EQ(sample.token_ids[i], expected[i]) << "position " << i;
      }
    }
  }
  EXPECT_GT(compared, 80);
}

// Each format, deterministic and by cuBLAS, beside the CPU's backend, which has no f16.
TEST(CudaEngine, GreedyTokensAreTheCpusWhereMarginsAllow) {
  const std::vector<TokenId> prompt = RandomPrompt(21, 1);
  for (const auto& [weights, on_cpu, margin] :
       {std::tuple(WeightFormat::kF32, WeightFormat::kF32, 1e-3f),
        std::tuple(WeightFormat::kBF16, WeightFormat::kBF16, kBf16Margin),
        std::tuple(WeightFormat::kF16, WeightFormat::kF32, kF16Margin)}) {
    const auto cpu = OpenOn(kernels::CreateCpuBackend({on_cpu, 1, ""}));
    const CollectedSample expected = Generate(*cpu, Request(prompt, 16));
    for (const bool deterministic : {true, false}) {
      SCOPED_TRACE(std::string(kernels::NameOf(weights)) + (deterministic ? "" : ", cuBLAS"));
      const auto gpu = OpenCuda(weights, Schedule::kForward, deterministic);
      const CollectedSample actual = Generate(*gpu, Request(prompt, 16));
      ASSERT_EQ(actual.token_ids.size(), expected.token_ids.size());
      int compared = 0;
      for (size_t i = 0; i < expected.token_ids.size(); ++i, ++compared) {
        const auto& top = expected.logprobs[i].top;
        if (top[0].logprob - top[1].logprob < margin) break;
        ASSERT_EQ(actual.token_ids[i], expected.token_ids[i]) << "position " << i;
        EXPECT_NEAR(actual.logprobs[i].logprob, expected.logprobs[i].logprob, margin);
      }
      EXPECT_GT(compared, 0);
    }
  }
}

class DeterministicCuda : public testing::TestWithParam<WeightFormat> {};

// Alone and plainly; then all in one batch, in chunks, with different exits and draft lengths, in
// another order of threads and blocks, and with one that is cancelled on the way; then from graphs.
TEST_P(DeterministicCuda, AnswersDoNotDependOnSpeculationBatchChunksAndSchedule) {
  std::vector<GenerateRequest> requests;
  for (const int length : {1, 9, 17, 33}) {
    requests.push_back(Request(RandomPrompt(length, static_cast<uint32_t>(length)), 8));
  }
  requests[1].sampling.temperature = 0.9f;
  requests[1].sampling.seed = 5;
  requests[3].sampling.temperature = 1.2f;
  requests[3].sampling.seed = 6;
  requests[3].sampling.top_p = 0.9f;
  requests[3].sampling.repetition_penalty = 1.2f;
  // What nobody sees the logits of is chosen without the host.
  requests[2].output.logprobs.reset();
  requests[3].output.logprobs.reset();
  std::vector<CollectedSample> expected;
  {
    const auto alone = OpenCuda(GetParam(), Schedule::kForward, true, 0, /*graphs=*/false);
    for (const GenerateRequest& request : requests) expected.push_back(Generate(*alone, request));
  }
  Speculate(requests[0], 2, 3);
  Speculate(requests[1], 4, 2);
  Speculate(requests[2], 1, 5);
  Speculate(requests[3], 3, 3);
  for (const Schedule schedule : {Schedule::kReverse, Schedule::kRandom}) {
    const auto crowded = OpenCuda(GetParam(), schedule, true, /*max_prefill_chunk=*/7);
    GenerateRequest company = Request(RandomPrompt(5, 8), 60);
    Speculate(company, 3, 4);
    const auto company_sink = std::make_shared<CollectingSink>();
    const auto company_id = crowded->Submit(company, company_sink);
    ASSERT_TRUE(company_id.ok());
    company_sink->WaitForToken();
    std::vector<std::shared_ptr<CollectingSink>> sinks;
    for (const GenerateRequest& request : requests) {
      sinks.push_back(std::make_shared<CollectingSink>());
      ASSERT_TRUE(crowded->Submit(request, sinks.back()).ok());
    }
    sinks[0]->WaitForToken();
    crowded->Cancel(*company_id);
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE("request " + std::to_string(i));
      ASSERT_TRUE(sinks[i]->Wait().ok());
      ExpectSame(sinks[i]->sample(), expected[i]);
    }
    company_sink->Wait().IgnoreError();
    crowded->WaitUntilIdle(Instant::max());
    EXPECT_EQ(crowded->GetLoad().kv_blocks_used, 0);
    EXPECT_EQ(crowded->GetLoad().exit_cache_rows_used, 0);
    EXPECT_GT(crowded->GetCounters().drafted_tokens, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(All, DeterministicCuda, testing::ValuesIn(kernels::kAllWeightFormats),
                         [](const auto& info) { return kernels::NameOf(info.param); });

// However much is drafted: the GPU is told of a round as a whole.
TEST(CudaEngine, WaitsOncePerRound) {
  const auto engine = OpenCuda(WeightFormat::kBF16, Schedule::kForward);
  for (const float temperature : {0.0f, 1.0f}) {
    GenerateRequest request = Request(RandomPrompt(9, 2), 20);
    request.sampling.temperature = temperature;
    request.output.logprobs.reset();
    Speculate(request, 2, 4);
    Generate(*engine, request);  // buffers have grown
    engine->WaitUntilIdle(Instant::max());
    const int64_t before = cuda_emulator::CurrentCounters().synchronizations;
    const CollectedSample sample = Generate(*engine, request);
    engine->WaitUntilIdle(Instant::max());
    const int64_t waits = cuda_emulator::CurrentCounters().synchronizations - before;
    EXPECT_EQ(waits, sample.finished->speculation.rounds);
    EXPECT_GT(sample.finished->speculation.drafted_tokens, 0);
  }
}

// What runs as before is played back: the same tokens, by fewer launches.
TEST(CudaEngine, PlaysLayersBack) {
  std::vector<CollectedSample> samples;
  std::vector<int64_t> launches;
  for (const bool graphs : {false, true}) {
    const auto engine = OpenCuda(WeightFormat::kBF16, Schedule::kForward, true, 0, graphs);
    GenerateRequest request = Request(RandomPrompt(9, 3), 24);
    Speculate(request, 2, 3);
    Generate(*engine, request);
    engine->WaitUntilIdle(Instant::max());
    const auto before = cuda_emulator::CurrentCounters();
    samples.push_back(Generate(*engine, request));
    engine->WaitUntilIdle(Instant::max());
    const auto after = cuda_emulator::CurrentCounters();
    launches.push_back(after.launches - before.launches);
    EXPECT_EQ(after.graph_launches > before.graph_launches, graphs);
  }
  EXPECT_EQ(samples[1].token_ids, samples[0].token_ids);
  EXPECT_LT(launches[1] * 2, launches[0]);
}

TEST(CudaEngine, SaysWhatDoesNotFit) {
  cuda_emulator::Configure({.memory_bytes = size_t{300} << 10});
  auto checkpoint = Checkpoint::Open(TinyModel());
  auto tokenizer = Tokenizer::Open(TinyModel(), (*checkpoint)->config().vocab_size);
  const auto engine = Engine::Create(*std::move(checkpoint), *std::move(tokenizer),
                                     kernels::CreateCudaBackend({WeightFormat::kBF16, 0, true}), {},
                                     nullptr, nullptr);
  ASSERT_FALSE(engine.ok());
  EXPECT_NE(std::string(engine.status().message()).find("out of memory"), std::string::npos)
      << engine.status();
}

TEST(CudaEngine, LeavesNothingBehind) {
  const int64_t before = cuda_emulator::CurrentCounters().live_allocations;
  Generate(*OpenCuda(WeightFormat::kBF16, Schedule::kForward), Request(RandomPrompt(3, 9), 2));
  EXPECT_EQ(cuda_emulator::CurrentCounters().live_allocations, before);
}

}  // namespace
}  // namespace strata
