// Planted bugs in how threads work together: each is caught, and is no bug once mended.

#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "tests/cuda_emulator/launch.h"

namespace strata::cuda_emulator {
namespace {

using ::testing::Each;

constexpr int kThreads = 64;

// What a bug of ours, planted, would look like.
enum class Bug {
  kNone,
  kNoFirstBarrier,
  kNoLastBarrier,
  kDivergentBarrier,
  kBarrierAfterExit,
  kTwoBarriers,
  kHalfWarpShuffle,
  kDivergentShuffles,
  kExitedLane,
  kBarrierAgainstShuffle,
};

std::vector<float> Counting(int count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

// Twice, each thread gets the value of the thread at the other end, by shared memory.
__global__ void ReverseTwice(float* x, Bug bug) {
  STRATA_SHARED(float, shared, kThreads);
  const int self = static_cast<int>(threadIdx.x);
  for (int round = 0; round < 2; ++round) {
    shared[self] = x[self] + 1;
    if (bug != Bug::kNoFirstBarrier) __syncthreads();
    x[self] = shared[kThreads - 1 - self];
    if (bug != Bug::kNoLastBarrier) __syncthreads();
  }
}

__global__ void MeetAtBarriers(float* x, Bug bug) {
  const bool low = threadIdx.x < kThreads / 2;
  if (bug == Bug::kBarrierAfterExit && threadIdx.x == 3) return;
  if (bug == Bug::kTwoBarriers && low) {
    __syncthreads();
  } else if (bug != Bug::kDivergentBarrier || low) {
    __syncthreads();
  }
  x[threadIdx.x] = 0;
}

__global__ void SumWarps(float* x, Bug bug) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float value = x[threadIdx.x];
  if (bug == Bug::kExitedLane && lane == 31) return;
  for (int distance = 16; distance > 0; distance /= 2) {
    if (bug == Bug::kHalfWarpShuffle && lane >= 16) continue;
    if (bug == Bug::kDivergentShuffles && lane >= 16) {
      value += __shfl_xor_sync(0xffffffffu, value, distance);
    } else if (bug == Bug::kBarrierAgainstShuffle && threadIdx.x >= 32) {
      __syncthreads();
    } else {
      value += __shfl_xor_sync(0xffffffffu, value, distance);
    }
  }
  if (bug == Bug::kHalfWarpShuffle) __syncwarp();
  x[threadIdx.x] = value;
}

template <typename Kernel>
std::vector<float> Result(Kernel kernel, Bug bug, Schedule schedule) {
  Configure({.schedule = schedule});
  const DeviceArray x(Counting(kThreads));
  EXPECT_EQ(x.Run(2, kThreads, kernel, bug), cudaSuccess);
  return x.Read();
}

class ThreadRules : public testing::TestWithParam<Schedule> {};

TEST_P(ThreadRules, WorkWithoutBugs) {
  std::vector<float> expected = Counting(kThreads);
  for (float& value : expected) value += 4;  // two rounds in each of two blocks
  EXPECT_EQ(Result(ReverseTwice, Bug::kNone, GetParam()), expected);
  EXPECT_THAT(Result(MeetAtBarriers, Bug::kNone, GetParam()), Each(0.0f));
  std::vector<float> sums(kThreads, 32.0f * (32 * 33 / 2));
  std::fill(sums.begin() + 32, sums.end(), 32.0f * (32 * 33 / 2 + 32 * 32));
  EXPECT_EQ(Result(SumWarps, Bug::kNone, GetParam()), sums);
}

#if !defined(STRATA_RACE_CHECK)  // else races end the process: race_rules_test.cu

// What is read too early is NaN, or of the round before.
TEST_P(ThreadRules, MissingFirstBarrierGivesOtherResults) {
  EXPECT_NE(Result(ReverseTwice, Bug::kNoFirstBarrier, GetParam()),
            Result(ReverseTwice, Bug::kNone, GetParam()));
}

TEST_P(ThreadRules, MissingLastBarrierGivesOtherResults) {
  EXPECT_NE(Result(ReverseTwice, Bug::kNoLastBarrier, GetParam()),
            Result(ReverseTwice, Bug::kNone, GetParam()));
}

#endif

TEST_P(ThreadRules, DivergentBarriersAreCaught) {
  EXPECT_DEATH(Result(MeetAtBarriers, Bug::kDivergentBarrier, GetParam()),
               "thread_rules_test.cu:.*exited");
  EXPECT_DEATH(Result(MeetAtBarriers, Bug::kTwoBarriers, GetParam()),
               "divergent __syncthreads: thread [0-9]+ of block \\([01], 0, 0\\)");
  EXPECT_DEATH(Result(MeetAtBarriers, Bug::kBarrierAfterExit, GetParam()), "thread 3 .*has exited");
}

TEST_P(ThreadRules, WarpOperationsOfAPartOfAWarpAreCaught) {
  EXPECT_DEATH(Result(SumWarps, Bug::kHalfWarpShuffle, GetParam()), "divergent warp");
  EXPECT_DEATH(Result(SumWarps, Bug::kDivergentShuffles, GetParam()), "divergent warp");
  EXPECT_DEATH(Result(SumWarps, Bug::kExitedLane, GetParam()), "has exited");
}

TEST_P(ThreadRules, DeadlocksAreCaught) {
  EXPECT_DEATH(Result(SumWarps, Bug::kBarrierAgainstShuffle, GetParam()), "has exited|deadlock");
}

std::string ScheduleName(const testing::TestParamInfo<Schedule>& info) {
  const char* const names[] = {"forward", "reverse", "random"};
  return names[static_cast<int>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(All, ThreadRules, testing::ValuesIn(kAllSchedules), ScheduleName);

#if !defined(STRATA_RACE_CHECK)

// Blocks do not wait for each other: whose write comes last is the schedule's choice.
__global__ void RaceForOne(float* x) {
  x[0] = static_cast<float>(blockIdx.x * kThreads + threadIdx.x);
}

TEST(ThreadRules, RacingWritesDifferBySchedule) {
  std::vector<float> last;
  for (const Schedule schedule : {Schedule::kForward, Schedule::kReverse}) {
    Configure({.schedule = schedule});
    const DeviceArray x({0.0f});
    x.Run(4, kThreads, RaceForOne);
    last.push_back(x.Read()[0]);
  }
  EXPECT_NE(last[0], last[1]);
}

#endif

__global__ void TooMuchShared(float* x) {
  STRATA_SHARED(float, a, 8 << 10);
  STRATA_SHARED(float, b, (4 << 10) + 1);
  x[0] = a[0] + b[0];
}

TEST(SharedMemory, IsLimited) {
  Configure({});
  const DeviceArray x({0.0f});
  EXPECT_DEATH(x.Run(1, 32, TooMuchShared), "48 KiB is the limit");
}

__global__ void ReadsFresh(float* x) {
  STRATA_SHARED(float, a, kThreads);
  x[blockIdx.x * kThreads + threadIdx.x] = a[threadIdx.x];
  __syncthreads();
  a[threadIdx.x] = 1;
}

TEST(SharedMemory, IsNanInEachBlockUntilWritten) {
  Configure({});
  const DeviceArray x(Counting(3 * kThreads));
  EXPECT_EQ(x.Run(3, kThreads, ReadsFresh), cudaSuccess);
  for (const float value : x.Read()) EXPECT_TRUE(std::isnan(value));
}

__global__ void Nothing(float*) {}

TEST(Launches, ImpossibleOnesAreRefused) {
  Configure({});
  const DeviceArray x({0.0f});
  EXPECT_EQ(x.Run(0, 32, Nothing), cudaErrorInvalidConfiguration);
  EXPECT_EQ(x.Run(1, 1025, Nothing), cudaErrorInvalidConfiguration);
  EXPECT_EQ(x.Run(dim3(1, 65536), 32, Nothing), cudaErrorInvalidConfiguration);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  cudaLaunchConfig_t config = {};
  config.gridDim = 1;
  config.blockDim = 32;
  config.stream = x.stream();
  config.dynamicSmemBytes = 64 << 10;
  EXPECT_EQ(cudaLaunchKernelEx(&config, Nothing, x.data()), cudaErrorInvalidValue);
  const auto* function = reinterpret_cast<const void*>(&Nothing);
  const auto attribute = cudaFuncAttributeMaxDynamicSharedMemorySize;
  EXPECT_EQ(cudaFuncSetAttribute(function, attribute, 64 << 10), cudaSuccess);
  EXPECT_EQ(cudaLaunchKernelEx(&config, Nothing, x.data()), cudaSuccess);
  EXPECT_EQ(cudaFuncSetAttribute(function, attribute, 300 << 10), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace strata::cuda_emulator
