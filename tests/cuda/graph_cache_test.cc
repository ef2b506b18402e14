#include "kernels/cuda/graph_cache.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/cuda_emulator/emulator.h"

namespace strata::kernels::cuda {
namespace {

class GraphCacheTest : public testing::Test {
 protected:
  GraphCacheTest() {
    cuda_emulator::Configure({.lazy_streams = true});
    cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    cudaMalloc(reinterpret_cast<void**>(&bytes_), 2);
  }
  ~GraphCacheTest() override {
    cudaStreamDestroy(stream_);
    cudaFree(bytes_);
  }

  // Sets the byte at `index` to `value`.
  void Set(int index, int value) {
    ++num_calls_;
    cudaMemsetAsync(bytes_ + index, value, 1, stream_);
  }
  int Read(int index) {
    unsigned char byte = 0;
    cudaStreamSynchronize(stream_);
    cudaMemcpy(&byte, bytes_ + index, 1, cudaMemcpyDeviceToHost);
    return byte;
  }

  cudaStream_t stream_ = nullptr;
  unsigned char* bytes_ = nullptr;
  int num_calls_ = 0;
};

TEST_F(GraphCacheTest, PlaysBackFromTheThirdTimeOn) {
  GraphCache cache(4);
  for (int i = 1; i <= 5; ++i) {
    Set(0, 0);
    num_calls_ = 0;
    cache.Run(stream_, {7}, [this] { Set(0, 9); });
    EXPECT_EQ(num_calls_, i <= 2 ? 1 : 0);
    EXPECT_EQ(Read(0), 9);
  }
}

TEST_F(GraphCacheTest, TellsKeysApart) {
  GraphCache cache(4);
  for (int i = 0; i < 3; ++i) {
    cache.Run(stream_, {7, 1}, [this] { Set(0, 9); });
    cache.Run(stream_, {7, 2}, [this] { Set(1, 8); });
  }
  EXPECT_EQ(num_calls_, 4);
  EXPECT_EQ(Read(0), 9);
  EXPECT_EQ(Read(1), 8);
}

TEST_F(GraphCacheTest, DropsWhatWasNotUsedForLongest) {
  const int64_t before = cuda_emulator::CurrentCounters().live_allocations;
  {
    GraphCache cache(2);
    const auto run = [&](uint64_t key) { cache.Run(stream_, {key}, [this] { Set(0, 1); }); };
    for (const uint64_t key : {1, 1, 2, 2, 1, 3}) run(key);
    EXPECT_EQ(cache.size(), 2u);
    num_calls_ = 0;
    run(1);
    EXPECT_EQ(num_calls_, 0);
    run(2);
    EXPECT_EQ(num_calls_, 1);
  }
  EXPECT_EQ(cuda_emulator::CurrentCounters().live_allocations, before);
}

// The stream and the cache go on as if it had not been tried.
TEST_F(GraphCacheTest, ForgetsARecordingThatFailed) {
  GraphCache cache(2);
  cache.Run(stream_, {1}, [this] { Set(0, 1); });
  const auto fails = [this] {
    Set(0, 2);
    throw std::runtime_error("no");
  };
  EXPECT_THROW(cache.Run(stream_, {1}, fails), std::runtime_error);
  EXPECT_EQ(Read(0), 1);
  cache.Run(stream_, {1}, [this] { Set(0, 3); });
  EXPECT_EQ(Read(0), 3);
}

}  // namespace
}  // namespace strata::kernels::cuda
