// Several emulated GPUs: collectives, the engine over ranks, and ranks that go wrong.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/cuda/cuda_ranks.h"
#include "tests/cuda/emulated_ranks.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/collecting_sink.h"

namespace strata {
namespace {

using cuda_emulator::Schedule;
using kernels::CommunicatorError;
using kernels::DType;
using kernels::RankDevice;
using kernels::WeightFormat;
using ::testing::HasSubstr;

constexpr std::chrono::milliseconds kShort{300};

// Runs `task` for each rank in a thread of its own. What each has thrown, or "".
std::vector<std::string> RunRanks(std::vector<RankDevice>& ranks,
                                  const std::function<void(RankDevice&, int rank)>& task) {
  std::vector<std::string> errors(ranks.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        task(ranks[rank], static_cast<int>(rank));
      } catch (const CommunicatorError& error) {
        errors[rank] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

std::vector<float> RandomValues(int count, int seed) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random() >> 8) * 0x1p-20f - 8.0f;
  return values;
}

class CudaRanks : public testing::TestWithParam<int> {};

TEST_P(CudaRanks, SumsAreInOrderOfRankWhateverElseIsSummed) {
  constexpr int kRows = 5;
  constexpr int kCols = 37;
  const int size = GetParam();
  std::vector<float> expected = RandomValues(kRows * kCols, 0);
  for (int rank = 1; rank < size; ++rank) {
    const std::vector<float> values = RandomValues(kRows * kCols, rank);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += values[i];
  }
  auto ranks = OpenRanks(size, kLong);
  const auto errors = RunRanks(ranks, [&](RankDevice& device, int rank) {
    const std::vector<float> values = RandomValues(kRows * kCols, rank);
    for (const int rows : {kRows, 1}) {
      const kernels::Buffer x = device.backend->Allocate(values.size() * sizeof(float));
      device.backend->CopyToDevice(x.data(), values.data(), x.size_bytes());
      device.communicator->AllReduceSum(x.View(DType::kF32, rows, kCols));
      const float* host = device.backend->ReadBack(x.View(DType::kF32, kRows, kCols));
      for (int i = 0; i < rows * kCols; ++i) ASSERT_EQ(host[i], expected[i]) << "element " << i;
    }
  });
  EXPECT_THAT(errors, testing::Each(""));
}

TEST_P(CudaRanks, GatherAndBroadcastMoveRows) {
  const int size = GetParam();
  auto ranks = OpenRanks(size, kLong);
  const auto errors = RunRanks(ranks, [&](RankDevice& device, int rank) {
    const std::vector<float> own = RandomValues(6, rank);
    const kernels::Buffer x = device.backend->Allocate(size * 6 * sizeof(float));
    const kernels::TensorView all = x.View(DType::kF32, 2 * size, 3);
    device.backend->CopyToDevice(all.Rows(2 * rank, 2).data, own.data(), 24);
    device.communicator->AllGather(all);
    device.communicator->Broadcast(all.Rows(0, 1), size - 1);
    device.communicator->Barrier();
    const float* host = device.backend->ReadBack(all);
    for (int r = 0; r < size; ++r) {
      const std::vector<float> expected = RandomValues(6, r);
      for (int i = 0; i < 6; ++i) ASSERT_EQ(host[r * 6 + i], expected[i]);
    }
  });
  EXPECT_THAT(errors, testing::Each(""));
}

// Then sums are NCCL's, whose order is its own: of three numbers, an ulp or two of their
// magnitudes.
TEST(CudaRanksSums, ThatNeedNotBeDeterministicAreCloseToThose) {
  constexpr int kRanks = 3;
  constexpr int kCount = 37;
  cuda_emulator::Configure({.lazy_streams = true, .num_devices = kRanks});
  auto ranks =
      kernels::CreateCudaRanks({WeightFormat::kF32, 0, /*deterministic=*/false}, kRanks, kLong);
  const auto errors = RunRanks(ranks, [&](RankDevice& device, int rank) {
    EXPECT_FALSE(device.communicator->deterministic());
    const std::vector<float> values = RandomValues(kCount, rank);
    const kernels::Buffer x = device.backend->Allocate(kCount * sizeof(float));
    device.backend->CopyToDevice(x.data(), values.data(), x.size_bytes());
    device.communicator->AllReduceSum(x.View(DType::kF32, 1, kCount));
    const float* host = device.backend->ReadBack(x.View(DType::kF32, 1, kCount));
    for (int i = 0; i < kCount; ++i) {
      double sum = 0;
      double magnitude = 0;
      for (int r = 0; r < kRanks; ++r) {
        sum += RandomValues(kCount, r)[i];
        magnitude += std::abs(RandomValues(kCount, r)[i]);
      }
      ASSERT_NEAR(host[i], sum, 2 * magnitude * 0x1p-24);
    }
  });
  EXPECT_THAT(errors, testing::Each(""));
}

INSTANTIATE_TEST_SUITE_P(All, CudaRanks, testing::Values(2, 3, 4));

TEST(CudaRanksFailure, ACollectiveThatARankNeverJoinsEndsInTime) {
  auto ranks = OpenRanks(3, kShort);
  const auto errors = RunRanks(ranks, [&](RankDevice& device, int rank) {
    if (rank == 1) return;
    const kernels::Buffer x = device.backend->Allocate(64);
    device.communicator->AllReduceSum(x.View(DType::kF32, 1, 16));
    device.backend->Synchronize();
  });
  EXPECT_THAT(errors[0], HasSubstr("has not joined a collective"));
  EXPECT_EQ(errors[2], errors[0]);
  // It stays ended, with the first reason.
  ranks[1].communicator->Abort("later");
  const auto later =
      RunRanks(ranks, [&](RankDevice& device, int) { device.communicator->Barrier(); });
  EXPECT_THAT(later, testing::Each(errors[0]));
}

TEST(CudaRanksFailure, AbortEndsWaitingRanksWithItsReason) {
  auto ranks = OpenRanks(2, kLong);
  const auto errors = RunRanks(ranks, [&](RankDevice& device, int rank) {
    if (rank == 1) return device.communicator->Abort("rank 1 is out of order");
    device.communicator->Barrier();
  });
  EXPECT_EQ(errors[0], "rank 1 is out of order");
}

TEST(CudaRanksFailure, WhatNcclReportsEndsAllRanks) {
  for (const auto& [failing, reason] : {
           std::pair("ncclAllGather", "rank [01]: NCCL: unhandled cuda error"),
           std::pair("ncclCommGetAsyncError", "rank [01]: NCCL: remote process exited.*"),
       }) {
    SCOPED_TRACE(failing);
    auto ranks = OpenRanks(2, kLong);
    cuda_emulator::Configure({.num_devices = 2, .failing = failing});
    const auto errors = RunRanks(ranks, [](RankDevice& device, int) {
      const kernels::Buffer x = device.backend->Allocate(64);
      device.communicator->AllReduceSum(x.View(DType::kF32, 1, 16));
      device.backend->Synchronize();
    });
    EXPECT_THAT(errors[0], testing::MatchesRegex(reason));
    EXPECT_EQ(errors[1], errors[0]);
  }
}

TEST(CudaRanksFailure, GpusThatNcclCannotConnectAreSaid) {
  cuda_emulator::Configure({.num_devices = 2, .failing = "ncclCommInitAll"});
  try {
    kernels::CreateCudaRanks({}, 2, kLong);
    FAIL() << "it connects";
  } catch (const kernels::DeviceError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("NCCL cannot connect 2 GPUs: unhandled system error; the environment's "
                          "NCCL_DEBUG=INFO"));
  }
}

TEST(CudaRanksDeathTest, UnequalCollectivesAreCaught) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto ranks = OpenRanks(2, kLong);
        RunRanks(ranks, [&](RankDevice& device, int rank) {
          const kernels::Buffer x = device.backend->Allocate(64);
          device.communicator->AllReduceSum(x.View(DType::kF32, 1, rank == 0 ? 16 : 8));
          device.backend->Synchronize();
        });
      },
      "ranks call different collectives");
}

// ---- The engine ------------------------------------------------------------

GenerateRequest Request(int prompt_tokens, int exit_layer) {
  GenerateRequest request;
  std::vector<TokenId> prompt(prompt_tokens);
  std::mt19937 random(static_cast<uint32_t>(prompt_tokens));
  for (TokenId& id : prompt) id = static_cast<TokenId>(random() % 1500);
  request.prompt = prompt;
  request.sampling.temperature = 0;
  request.stopping.max_new_tokens = 8;
  request.stopping.ignore_eos = true;
  request.output.logprobs = 2;
  if (exit_layer > 0) {
    request.speculation.mode = Speculation::Mode::kFixed;
    request.speculation.exit_layer = exit_layer;
    request.speculation.num_draft_tokens = 3;
  }
  return request;
}

// By which a logit may be off: ranks add up partial sums that one GPU does not round between.
float MarginOf(WeightFormat weights) {
  return weights == WeightFormat::kF32   ? 1e-3f
         : weights == WeightFormat::kF16 ? 0.0125f
                                         : 0.1f;  // operands are bf16
}

constexpr int kPromptTokens = 18;  // the first token's margin is enough in all formats

class CudaRanksEngine : public testing::TestWithParam<std::tuple<WeightFormat, int>> {};

// Within one number of ranks to the bit, whatever the drafts and the order of threads; between
// numbers of ranks where margins allow.
TEST_P(CudaRanksEngine, TokensAreThoseOfOneGpuAndDoNotDependOnDrafts) {
  const auto [weights, num_ranks] = GetParam();
  const float margin = MarginOf(weights);
  const CollectedSample one =
      Generate(**OpenOver(OpenRanks(1, kLong, weights)), Request(kPromptTokens, 0));
  const CollectedSample plain =
      Generate(**OpenOver(OpenRanks(num_ranks, kLong, weights)), Request(kPromptTokens, 0));
  int compared = 0;
  for (size_t i = 0; i < one.token_ids.size(); ++i, ++compared) {
    const auto& top = one.logprobs[i].top;
    if (top[0].logprob - top[1].logprob < margin) break;
    ASSERT_EQ(plain.token_ids[i], one.token_ids[i]) << "token " << i;
    EXPECT_NEAR(plain.logprobs[i].logprob, one.logprobs[i].logprob, margin);
  }
  EXPECT_GT(compared, 0);
  const auto engine = OpenOver(OpenRanks(num_ranks, kLong, weights, Schedule::kRandom));
  ASSERT_TRUE(engine.ok()) << engine.status();
  const auto company = std::make_shared<CollectingSink>();
  ASSERT_TRUE((*engine)->Submit(Request(7, 2), company).ok());
  const CollectedSample drafted = Generate(**engine, Request(kPromptTokens, 4));
  EXPECT_TRUE(company->Wait().ok());
  ASSERT_EQ(drafted.token_ids, plain.token_ids);
  for (size_t i = 0; i < plain.logprobs.size(); ++i) {
    ASSERT_EQ(drafted.logprobs[i].logprob, plain.logprobs[i].logprob) << "token " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaRanksEngine, testing::ValuesIn([] {
      std::vector<std::tuple<WeightFormat, int>> cases = {{WeightFormat::kF32, 4}};
      for (const WeightFormat weights : kernels::kAllWeightFormats) {
        cases.emplace_back(weights, 2);
      }
      return cases;
    }()),
    [](const auto& info) {
      return std::string(kernels::NameOf(std::get<0>(info.param))) + "Over" +
             std::to_string(std::get<1>(info.param));
    });

TEST(CudaRanksEngineFailing, ARankWithoutRoomFailsTheLoad) {
  const auto engine = OpenOver(OpenRanks(2, kLong, WeightFormat::kBF16, Schedule::kForward,
                                         /*memory_bytes=*/size_t{150} << 10));
  ASSERT_FALSE(engine.ok());
  EXPECT_THAT(std::string(engine.status().message()), HasSubstr("out of memory"));
}

}  // namespace
}  // namespace strata
