// Checkpoints of each type on an emulated GPU in f16, beside bf16 and beside the reference.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/model/llama_model.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/reference/reference_backend.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/engine/checkpoint/checkpoint_writer.h"
#include "tests/engine/checkpoint/temporary_folder.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

using kernels::DType;
using kernels::WeightFormat;
using RandomModel = struct TinyModel;

constexpr int kTokens = 20;

std::unique_ptr<kernels::Backend> CudaIn(WeightFormat weights) {
  cuda_emulator::Configure({.lazy_streams = true});
  return kernels::CreateCudaBackend({weights, 0, /*deterministic=*/true});
}

absl::StatusOr<std::unique_ptr<LlamaModel>> Load(const Checkpoint& checkpoint,
                                                 kernels::Backend& backend) {
  ModelLimits limits;
  limits.max_context = 32;
  limits.num_kv_blocks = 2;
  limits.max_logit_rows = kTokens;
  return LlamaModel::Create(checkpoint, &backend, limits);
}

// Of each position of some text.
std::vector<float> Logits(const Checkpoint& checkpoint, std::unique_ptr<kernels::Backend> backend) {
  const auto model = Load(checkpoint, *backend);
  EXPECT_TRUE(model.ok()) << model.status();
  const ModelConfig& config = checkpoint.config();
  std::vector<TokenId> ids(kTokens);
  for (int i = 0; i < kTokens; ++i) ids[i] = (7 * i + 3) % config.vocab_size;
  (*model)->Forward(OneSequence(ids, 0, {0, config.num_layers}));
  std::vector<int32_t> rows(kTokens);
  std::iota(rows.begin(), rows.end(), 0);
  const float* logits = (*model)->Logits(rows);
  return {logits, logits + kTokens * config.vocab_size};
}

double RootMeanSquareError(const std::vector<float>& got, const std::vector<float>& expected) {
  double squares = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    squares += (double{got[i]} - expected[i]) * (double{got[i]} - expected[i]);
  }
  return std::sqrt(squares / static_cast<double>(got.size()));
}

// f16 rounds by an eighth of what bf16 rounds by.
TEST(F16Checkpoints, LogitsAreNearerToTheReferenceThanInBf16) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    SCOPED_TRACE(kernels::NameOf(dtype));
    const TemporaryFolder folder;
    RandomModel model;
    model.dtype = dtype;
    WriteCheckpoint(folder.path(), model);
    const auto checkpoint = Checkpoint::Open(folder.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const std::vector<float> exact = Logits(**checkpoint, kernels::CreateReferenceBackend());
    const double f16 = RootMeanSquareError(Logits(**checkpoint, CudaIn(WeightFormat::kF16)), exact);
    const double bf16 =
        RootMeanSquareError(Logits(**checkpoint, CudaIn(WeightFormat::kBF16)), exact);
    // Of an F16 checkpoint, bf16 rounds weights as well as operands, f16 operands alone.
    const double expected = dtype == DType::kF16 ? 8 * std::sqrt(2.0) : 8;
    EXPECT_NEAR(bf16 / f16, expected, expected / 4);
  }
}

TEST(F16Checkpoints, OneWithAWeightThatF16CannotHoldIsRefused) {
  const TemporaryFolder folder;
  WriteCheckpoint(folder.path(), {});
  std::vector<RawTensor> tensors = RandomTensors({});
  const auto tensor = std::find_if(tensors.begin(), tensors.end(), [](const RawTensor& t) {
    return t.name == "model.layers.1.mlp.down_proj.weight";
  });
  ASSERT_NE(tensor, tensors.end());
  const std::string large = EncodeFloats({70000.0f}, DType::kBF16);
  tensor->bytes.replace(10 * large.size(), large.size(), large);
  WriteFile(folder.path() + "/model.safetensors", SerializeSafetensors(tensors));
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto f16 = CudaIn(WeightFormat::kF16);
  EXPECT_THAT(std::string(Load(**checkpoint, *f16).status().message()),
              testing::HasSubstr("beyond 65504, the largest number of f16: take bf16 or f32"));
  const auto bf16 = CudaIn(WeightFormat::kBF16);
  EXPECT_TRUE(Load(**checkpoint, *bf16).ok());
}

}  // namespace
}  // namespace strata
