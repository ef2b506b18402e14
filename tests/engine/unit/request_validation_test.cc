// Every field's limits: what is just inside passes, what is just outside is
// refused by a message that begins with the field's name.

#include "engine/request_validation.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace strata {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kVocabSize = 100;
constexpr int kNumLayers = 8;

ModelConfig Config() {
  ModelConfig config;
  config.vocab_size = kVocabSize;
  config.num_layers = kNumLayers;
  return config;
}

GenerateRequest Valid() {
  GenerateRequest request;
  request.stopping.max_new_tokens = 1;
  return request;
}

template <typename T>
struct Field {
  std::string name;
  std::function<void(GenerateRequest&, T)> set;
  std::vector<T> good, bad;
};

template <typename T>
void ExpectLimits(const Field<T>& field) {
  for (const T& value : field.good) {
    GenerateRequest request = Valid();
    field.set(request, value);
    EXPECT_TRUE(ValidateRequest(request, Config()).ok()) << field.name << " = " << value;
  }
  for (const T& value : field.bad) {
    GenerateRequest request = Valid();
    field.set(request, value);
    const absl::Status status = ValidateRequest(request, Config());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field.name << " = " << value;
    EXPECT_TRUE(std::string(status.message()).starts_with(field.name + ": ")) << status;
  }
}

TEST(RequestValidation, AnEmptyRequestIsValid) {
  EXPECT_TRUE(ValidateRequest(Valid(), Config()).ok());
}

TEST(RequestValidation, RealFields) {
  const std::vector<Field<float>> fields = {
      {"sampling.temperature",
       [](auto& request, float value) { request.sampling.temperature = value; },
       {0, -0.0f, 0.01f, 1, 100},
       {0.0099f, -1, 100.1f, kNan, kInfinity, -kInfinity}},
      {"sampling.top_p",
       [](auto& request, float value) { request.sampling.top_p = value; },
       {1e-6f, 0.5f, 1},
       {0, -0.1f, 1.0001f, kNan, kInfinity}},
      {"sampling.min_p",
       [](auto& request, float value) { request.sampling.min_p = value; },
       {0, 0.5f, 1},
       {-0.0001f, 1.0001f, kNan, kInfinity}},
      {"sampling.repetition_penalty",
       [](auto& request, float value) { request.sampling.repetition_penalty = value; },
       {0.01f, 1, 100},
       {0, 0.0099f, -1, 100.1f, kNan, kInfinity}},
      {"sampling.presence_penalty",
       [](auto& request, float value) { request.sampling.presence_penalty = value; },
       {-2, 0, 2},
       {-2.001f, 2.001f, kNan, kInfinity}},
      {"sampling.frequency_penalty",
       [](auto& request, float value) { request.sampling.frequency_penalty = value; },
       {-2, 0, 2},
       {-2.001f, 2.001f, kNan, kInfinity}},
      {"sampling.logit_bias",
       [](auto& request, float value) {
         request.sampling.logit_bias = {{5, value}};
       },
       {-1000, 0, 1000},
       {-1000.1f, 1000.1f, kNan, kInfinity, -kInfinity}},
  };
  for (const auto& field : fields) ExpectLimits(field);
}

void SetFixed(GenerateRequest& request, int exit_layer, int num_draft_tokens) {
  request.speculation.mode = Speculation::Mode::kFixed;
  request.speculation.exit_layer = exit_layer;
  request.speculation.num_draft_tokens = num_draft_tokens;
}

TEST(RequestValidation, IntegerFields) {
  constexpr int kMost = std::numeric_limits<int>::max();
  constexpr int kLeast = std::numeric_limits<int>::min();
  const std::vector<Field<int>> fields = {
      {"sampling.top_k",
       [](auto& request, int value) { request.sampling.top_k = value; },
       {0, 1, kVocabSize + 1, kMost},
       {-1, kLeast}},
      {"sampling.num_samples",
       [](auto& request, int value) { request.sampling.num_samples = value; },
       {1, 16},
       {0, 17, -1, kMost}},
      {"sampling.logit_bias",
       [](auto& request, int id) {
         request.sampling.logit_bias = {{id, 1.0f}};
       },
       {0, kVocabSize - 1},
       {-1, kVocabSize, kMost, kLeast}},
      {"stopping.max_new_tokens",
       [](auto& request, int value) { request.stopping.max_new_tokens = value; },
       {1, kMost},
       {0, -1, kLeast}},
      {"stopping.stop_token_ids",
       [](auto& request, int id) {
         request.stopping.stop_token_ids = {1, id};
       },
       {0, kVocabSize - 1},
       {-1, kVocabSize}},
      {"speculation.exit_layer",
       [](auto& request, int value) { SetFixed(request, value, 4); },
       {1, kNumLayers - 1},
       {0, kNumLayers, -1}},
      {"speculation.num_draft_tokens",
       [](auto& request, int value) { SetFixed(request, 1, value); },
       {0, 32},
       {-1, 33}},
      {"speculation.exit_layers",
       [](auto& request, int value) {
         request.speculation.mode = Speculation::Mode::kAuto;
         request.speculation.exit_layers = {1, value};
       },
       {1, kNumLayers - 1},
       {0, kNumLayers}},
      {"output.logprobs",
       [](auto& request, int value) { request.output.logprobs = value; },
       {0, 20},
       {-1, 21}},
  };
  for (const auto& field : fields) ExpectLimits(field);
}

TEST(RequestValidation, Sizes) {
  const std::vector<Field<size_t>> fields = {
      {"sampling.logit_bias",
       [](auto& request, size_t size) {
         request.sampling.logit_bias.assign(size, {1, 1.0f});
       },
       {0, 1024},
       {1025}},
      {"stopping.stop_sequences",
       [](auto& request, size_t size) { request.stopping.stop_sequences.assign(size, "x"); },
       {0, 16},
       {17}},
      {"stopping.stop_sequences",
       [](auto& request, size_t size) {
         request.stopping.stop_sequences = {"x", std::string(size, 'y')};
       },
       {1, 256},
       {0, 257}},
      {"stopping.stop_token_ids",
       [](auto& request, size_t size) { request.stopping.stop_token_ids.assign(size, 1); },
       {0, 64},
       {65}},
  };
  for (const auto& field : fields) ExpectLimits(field);
}

TEST(RequestValidation, NothingMayBeGeneratedOnlyWhereThePromptIsScored) {
  GenerateRequest request = Valid();
  request.stopping.max_new_tokens = 0;
  EXPECT_FALSE(ValidateRequest(request, Config()).ok());
  request.output.prompt_logprobs = true;
  EXPECT_TRUE(ValidateRequest(request, Config()).ok());
}

TEST(RequestValidation, SpeculationThatIsOffIsNotLookedAt) {
  GenerateRequest request = Valid();
  request.speculation.exit_layer = -5;
  request.speculation.num_draft_tokens = 1000;
  EXPECT_TRUE(ValidateRequest(request, Config()).ok());
}

absl::Status Prompt(const std::vector<TokenId>& prompt, int max_new_tokens = 1) {
  GenerateRequest request = Valid();
  request.stopping.max_new_tokens = max_new_tokens;
  return ValidatePrompt(prompt, request, Config(), /*max_context=*/10);
}

TEST(RequestValidation, Prompts) {
  EXPECT_TRUE(Prompt({0, kVocabSize - 1}).ok());
  EXPECT_TRUE(Prompt(std::vector<TokenId>(9, 1)).ok());
  EXPECT_TRUE(Prompt(std::vector<TokenId>(9, 1), 1'000'000).ok());
  EXPECT_TRUE(Prompt(std::vector<TokenId>(10, 1), 0).ok());
  const std::vector<std::pair<absl::Status, absl::StatusCode>> refused = {
      {Prompt({}), absl::StatusCode::kInvalidArgument},
      {Prompt({1, -1}), absl::StatusCode::kInvalidArgument},
      {Prompt({1, kVocabSize}), absl::StatusCode::kInvalidArgument},
      {Prompt(std::vector<TokenId>(10, 1)), absl::StatusCode::kOutOfRange},
      {Prompt(std::vector<TokenId>(11, 1), 0), absl::StatusCode::kOutOfRange},
  };
  for (const auto& [status, code] : refused) {
    EXPECT_EQ(status.code(), code);
    EXPECT_TRUE(std::string(status.message()).starts_with("prompt: ")) << status;
  }
}

}  // namespace
}  // namespace strata
