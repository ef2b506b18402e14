// Planted bugs in the use of memory and streams: each is caught, and is no bug once mended.

#include <cmath>
#include <numeric>

#include "tests/cuda_emulator/launch.h"

namespace strata::cuda_emulator {
namespace {

constexpr int kThreads = 32;

__global__ void Touch(float* x, int index) {
  if (threadIdx.x == 0) x[index] += 1;
}

__global__ void TouchShared(float* x, int index) {
  STRATA_SHARED(float, before, 10);
  STRATA_SHARED(float, shared, 20);
  if (threadIdx.x == 0) {
    before[0] = 0;
    shared[0] = 0;
    shared[index] = 1;
    x[0] = shared[0];
  }
}

__global__ void TouchDynamic(float* x, int index) {
  STRATA_DYNAMIC_SHARED(float, shared);
  if (threadIdx.x == 0) {
    shared[index] = 1;
    x[0] = shared[index];
  }
}

__global__ void ReadFour(float* x, int index) {
  if (threadIdx.x == 0) x[0] = reinterpret_cast<const float4*>(x + index)->w;
}

cudaError_t RunDynamic(const DeviceArray& x, size_t bytes, int index) {
  cudaLaunchConfig_t config = {};
  config.gridDim = 1;
  config.blockDim = kThreads;
  config.dynamicSmemBytes = bytes;
  config.stream = x.stream();
  return cudaLaunchKernelEx(&config, TouchDynamic, x.data(), index);
}

class MemoryRules : public testing::Test {
 protected:
  MemoryRules() { Configure({}); }
};
using MemoryRulesDeathTest = MemoryRules;

constexpr char kPoison[] = "AddressSanitizer";

TEST_F(MemoryRulesDeathTest, GlobalMemoryEndsWhereItEnds) {
  const DeviceArray x(std::vector<float>(10, 1.0f));
  EXPECT_EQ(x.Run(1, kThreads, Touch, 9), cudaSuccess);
  EXPECT_EQ(x.Read()[9], 2.0f);
  EXPECT_DEATH(x.Run(1, kThreads, Touch, 10), kPoison);
  EXPECT_DEATH(x.Run(1, kThreads, Touch, -1), kPoison);
}

TEST_F(MemoryRulesDeathTest, SharedArraysEndWhereTheyEnd) {
  const DeviceArray x({0.0f});
  EXPECT_EQ(x.Run(1, kThreads, TouchShared, 19), cudaSuccess);
  EXPECT_DEATH(x.Run(1, kThreads, TouchShared, 20), kPoison);
  EXPECT_DEATH(x.Run(1, kThreads, TouchShared, -1), kPoison);
  EXPECT_EQ(RunDynamic(x, 40, 9), cudaSuccess);
  EXPECT_EQ(x.Read()[0], 1.0f);
  EXPECT_DEATH(RunDynamic(x, 40, 10), kPoison);
}

TEST_F(MemoryRulesDeathTest, VectorsAreAligned) {
  const DeviceArray x(std::vector<float>(12, 5.0f));
  EXPECT_EQ(x.Run(1, kThreads, ReadFour, 4), cudaSuccess);
  EXPECT_EQ(x.Read()[0], 5.0f);
  EXPECT_DEATH(x.Run(1, kThreads, ReadFour, 2), "misaligned");
}

TEST_F(MemoryRulesDeathTest, FreedMemoryIsGone) {
  const DeviceArray x({0.0f});
  float* other = nullptr;
  ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&other), 64), cudaSuccess);
  ASSERT_EQ(cudaFree(other), cudaSuccess);
  cudaLaunchConfig_t config = {};
  config.gridDim = 1;
  config.blockDim = kThreads;
  config.stream = x.stream();
  EXPECT_DEATH(cudaLaunchKernelEx(&config, Touch, other, 0), kPoison);
  EXPECT_DEATH(cudaFree(other), "no device memory");
}

TEST_F(MemoryRulesDeathTest, FreeingInAStreamWaitsForItsWork) {
  Configure({.lazy_streams = true});
  const DeviceArray x({0.0f});
  float* other = nullptr;
  ASSERT_EQ(cudaMallocAsync(reinterpret_cast<void**>(&other), 64, x.stream()), cudaSuccess);
  cudaLaunchConfig_t config = {};
  config.gridDim = 1;
  config.blockDim = kThreads;
  config.stream = x.stream();
  ASSERT_EQ(cudaLaunchKernelEx(&config, Touch, other, 0), cudaSuccess);
  ASSERT_EQ(cudaFreeAsync(other, x.stream()), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(x.stream()), cudaSuccess);
  // Freed at once, before the stream has come so far.
  EXPECT_DEATH(
      {
        cudaMallocAsync(reinterpret_cast<void**>(&other), 64, x.stream());
        cudaLaunchKernelEx(&config, Touch, other, 0);
        cudaFree(other);
        cudaStreamSynchronize(x.stream());
      },
      kPoison);
}

TEST_F(MemoryRulesDeathTest, TheHostCannotTouchDeviceMemory) {
  const DeviceArray x(std::vector<float>(4, 1.0f));
  EXPECT_EQ(x.Read()[3], 1.0f);
  volatile float* data = x.data();
  EXPECT_DEATH(static_cast<void>(data[3]), kPoison);
  EXPECT_DEATH(data[0] = 1, kPoison);
}

TEST_F(MemoryRules, FreshMemoryIsNan) {
  float* fresh = nullptr;
  ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&fresh), 40), cudaSuccess);
  std::vector<float> values(10);
  ASSERT_EQ(cudaMemcpy(values.data(), fresh, 40, cudaMemcpyDeviceToHost), cudaSuccess);
  for (const float value : values) EXPECT_TRUE(std::isnan(value));
  cudaFree(fresh);
}

TEST_F(MemoryRulesDeathTest, CopiesStayInsideAndKeepTheirDirection) {
  const DeviceArray x(std::vector<float>(4, 1.0f));
  float host[8] = {};
  EXPECT_DEATH(cudaMemcpy(host, x.data(), 20, cudaMemcpyDeviceToHost), "beyond its allocation");
  EXPECT_DEATH(cudaMemcpy(host, host, 16, cudaMemcpyDeviceToHost), "not in device memory");
  EXPECT_DEATH(cudaMemcpy(x.data(), x.data(), 16, cudaMemcpyHostToDevice), "in host memory");
}

// Where nobody waits, nothing has happened.
TEST_F(MemoryRules, LazyStreamsShowAMissingSynchronise) {
  for (const bool waits : {false, true}) {
    Configure({.lazy_streams = true});
    const DeviceArray x({1.0f});
    float host = 0;
    ASSERT_EQ(x.Run(1, kThreads, Touch, 0), cudaSuccess);
    ASSERT_EQ(cudaMemcpyAsync(&host, x.data(), 4, cudaMemcpyDeviceToHost, x.stream()), cudaSuccess);
    if (waits) {
      ASSERT_EQ(cudaStreamSynchronize(x.stream()), cudaSuccess);
    }
    EXPECT_EQ(host, waits ? 2.0f : 0.0f);
  }
}

// A buffer that is on its way must not be filled again.
TEST_F(MemoryRules, LazyStreamsShowABufferThatIsReusedTooSoon) {
  for (const bool waits : {false, true}) {
    Configure({.lazy_streams = true});
    const DeviceArray x({0.0f});
    cudaEvent_t sent = nullptr;
    ASSERT_EQ(cudaEventCreateWithFlags(&sent, cudaEventDisableTiming), cudaSuccess);
    float host = 5;
    ASSERT_EQ(cudaMemcpyAsync(x.data(), &host, 4, cudaMemcpyHostToDevice, x.stream()), cudaSuccess);
    ASSERT_EQ(cudaEventRecord(sent, x.stream()), cudaSuccess);
    if (waits) {
      ASSERT_EQ(cudaEventSynchronize(sent), cudaSuccess);
    }
    host = 6;
    EXPECT_EQ(x.Read()[0], waits ? 5.0f : 6.0f);
    cudaEventDestroy(sent);
  }
}

TEST_F(MemoryRules, StreamsWaitForEachOtherByEventsOnly) {
  for (const bool waits : {false, true}) {
    Configure({.lazy_streams = true});
    const DeviceArray x({1.0f});
    const DeviceArray other({0.0f});
    cudaEvent_t done = nullptr;
    ASSERT_EQ(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), cudaSuccess);
    ASSERT_EQ(x.Run(1, kThreads, Touch, 0), cudaSuccess);
    ASSERT_EQ(cudaEventRecord(done, x.stream()), cudaSuccess);
    if (waits) {
      ASSERT_EQ(cudaStreamWaitEvent(other.stream(), done, 0), cudaSuccess);
    }
    ASSERT_EQ(cudaMemcpyAsync(other.data(), x.data(), 4, cudaMemcpyDeviceToDevice, other.stream()),
              cudaSuccess);
    EXPECT_EQ(other.Read()[0], waits ? 2.0f : 1.0f);
    cudaEventDestroy(done);
  }
}

TEST_F(MemoryRules, AGraphRepeatsWhatWasCaptured) {
  const DeviceArray x({0.0f});
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaStreamBeginCapture(x.stream(), cudaStreamCaptureModeThreadLocal), cudaSuccess);
  ASSERT_EQ(x.Run(1, kThreads, Touch, 0), cudaSuccess);
  ASSERT_EQ(x.Run(1, kThreads, Touch, 0), cudaSuccess);
  EXPECT_DEATH(cudaStreamSynchronize(x.stream()), "captured");
  void* data = nullptr;
  EXPECT_DEATH(cudaMallocAsync(&data, 1, x.stream()), "memory is allocated .* captured");
  EXPECT_DEATH(cudaFreeAsync(x.data(), x.stream()), "memory is freed .* captured");
  EXPECT_DEATH(cudaEventRecord(nullptr, x.stream()), "an event is recorded .* captured");
  ASSERT_EQ(cudaStreamEndCapture(x.stream(), &graph), cudaSuccess);
  EXPECT_EQ(x.Read()[0], 0.0f);
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  ASSERT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  for (int i = 1; i <= 3; ++i) {
    ASSERT_EQ(cudaGraphLaunch(executable, x.stream()), cudaSuccess);
    EXPECT_EQ(x.Read()[0], 2.0f * static_cast<float>(i));
  }
  ASSERT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
}

}  // namespace
}  // namespace strata::cuda_emulator
