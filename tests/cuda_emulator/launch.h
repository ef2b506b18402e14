// Device memory and launches of the emulator's own tests.

#ifndef STRATA_TESTS_CUDA_EMULATOR_LAUNCH_H_
#define STRATA_TESTS_CUDA_EMULATOR_LAUNCH_H_

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/cuda_emulator/emulator.h"

namespace strata::cuda_emulator {

// An array in device memory, and a stream to work on it.
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<float>& values) : count_(values.size()) {
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), Bytes()), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), Bytes(), cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~DeviceArray() {
    cudaStreamDestroy(stream_);
    cudaFree(data_);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  float* data() const { return data_; }
  cudaStream_t stream() const { return stream_; }
  size_t Bytes() const { return count_ * sizeof(float); }

  std::vector<float> Read() const {
    std::vector<float> values(count_);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(values.data(), data_, Bytes(), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

  // Runs kernel(data, arguments...).
  template <typename Kernel, typename... Arguments>
  cudaError_t Run(dim3 grid, dim3 block, Kernel kernel, Arguments... arguments) const {
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.stream = stream_;
    return cudaLaunchKernelEx(&config, kernel, data_, arguments...);
  }

 private:
  size_t count_;
  float* data_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

inline constexpr Schedule kAllSchedules[] = {Schedule::kForward, Schedule::kReverse,
                                             Schedule::kRandom};

}  // namespace strata::cuda_emulator

#endif  // STRATA_TESTS_CUDA_EMULATOR_LAUNCH_H_
