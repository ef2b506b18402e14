// Planted races of CUDA threads, which ThreadSanitizer reports whatever the schedule.

#include "tests/cuda_emulator/launch.h"

// A race ends the process at once.
extern "C" const char* __tsan_default_options() { return "halt_on_error=1"; }

namespace strata::cuda_emulator {
namespace {

constexpr int kThreads = 64;

__global__ void AllWriteOne(float* x) { x[0] = 1; }

// One thread of each block. A stack serves all blocks, so that the first threads would not do.
__global__ void BlocksWrite(float* x, bool each_its_own) {
  if (threadIdx.x == blockIdx.x) x[each_its_own ? blockIdx.x : 0] = 1;
}

__global__ void PassOn(float* x, bool first_barrier, bool last_barrier) {
  STRATA_SHARED(float, shared, kThreads);
  for (int round = 0; round < 2; ++round) {
    shared[threadIdx.x] = 1;
    if (first_barrier) __syncthreads();
    x[blockIdx.x * kThreads + threadIdx.x] = shared[kThreads - 1 - threadIdx.x];
    if (last_barrier) __syncthreads();
  }
}

__global__ void PassOnInWarps(float* x, bool synchronizes) {
  STRATA_SHARED(float, shared, kThreads);
  shared[threadIdx.x] = 1;
  if (synchronizes) __syncwarp();
  x[threadIdx.x] = shared[threadIdx.x ^ 1];
}

class RaceRules : public testing::TestWithParam<Schedule> {
 protected:
  RaceRules() { Configure({.schedule = GetParam()}); }
  const DeviceArray x_{std::vector<float>(2 * kThreads)};
};

constexpr char kReport[] = "ThreadSanitizer: data race";

TEST_P(RaceRules, WithoutRacesNothingIsReported) {
  EXPECT_EQ(x_.Run(1, 1, AllWriteOne), cudaSuccess);
  EXPECT_EQ(x_.Run(4, kThreads, BlocksWrite, true), cudaSuccess);
  EXPECT_EQ(x_.Run(2, kThreads, PassOn, true, true), cudaSuccess);
  EXPECT_EQ(x_.Run(1, kThreads, PassOnInWarps, true), cudaSuccess);
  EXPECT_EQ(x_.Read()[5], 1.0f);
}

TEST_P(RaceRules, RacesInABlockAndBetweenBlocksAreCaught) {
  EXPECT_DEATH(x_.Run(1, kThreads, AllWriteOne), kReport);
  EXPECT_DEATH(x_.Run(4, kThreads, BlocksWrite, false), kReport);
}

TEST_P(RaceRules, MissingBarriersAreCaught) {
  EXPECT_DEATH(x_.Run(1, kThreads, PassOn, false, true), kReport);
  EXPECT_DEATH(x_.Run(1, kThreads, PassOn, true, false), kReport);
  EXPECT_DEATH(x_.Run(1, kThreads, PassOnInWarps, false), kReport);
}

INSTANTIATE_TEST_SUITE_P(All, RaceRules, testing::ValuesIn(kAllSchedules));

}  // namespace
}  // namespace strata::cuda_emulator
