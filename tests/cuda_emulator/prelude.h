// Put in front of each CUDA source: the device language in C++, as far as
// NVIDIA's headers do not give it to a host compiler.

#ifndef STRATA_TESTS_CUDA_EMULATOR_PRELUDE_H_
#define STRATA_TESTS_CUDA_EMULATOR_PRELUDE_H_

#define STRATA_CUDA_EMULATOR 1

// Its variables are extern; ours follow the running fiber.
#define __DEVICE_LAUNCH_PARAMETERS_H__
#include <cuda_runtime.h>
#include <math.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/cuda_emulator/block.h"

constinit inline thread_local uint3 threadIdx{};
constinit inline thread_local uint3 blockIdx{};
constinit inline thread_local dim3 blockDim{};
constinit inline thread_local dim3 gridDim{};

#undef __launch_bounds__
#define __launch_bounds__(...)

namespace strata::cuda_emulator {

// Checks and enqueues; `function` names the kernel.
cudaError_t EnqueueLaunch(const cudaLaunchConfig_t& config, const void* function,
                          std::function<void()> kernel);

template <typename... Parameters, typename... Arguments>
cudaError_t LaunchKernel(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                         Arguments&&... arguments) {
  // Arguments are copied at the launch, as a driver does.
  std::tuple<std::remove_cv_t<Parameters>...> copies(std::forward<Arguments>(arguments)...);
  return EnqueueLaunch(*config, reinterpret_cast<const void*>(kernel),
                       [kernel, copies] { std::apply(kernel, copies); });
}

// What thread `source` of the warp has brought.
template <typename T>
T Shuffle(uint32_t mask, T value, int source, const char* operation,
          const std::source_location& where) {
  static_assert(sizeof(T) <= kMaxExchangeBytes);
  Block& block = Block::Current();
  const std::byte* brought = block.Exchange(mask, &value, sizeof(T), operation, where);
  T result;
  std::memcpy(&result, brought + source * kMaxExchangeBytes, sizeof(T));
  return result;
}

}  // namespace strata::cuda_emulator

#define cudaLaunchKernelEx ::strata::cuda_emulator::LaunchKernel

#define STRATA_SHARED(T, name, count)                                               \
  T* const name = static_cast<T*>(::strata::cuda_emulator::Block::Current().Shared( \
      sizeof(T) * (count), std::source_location::current()))
#define STRATA_DYNAMIC_SHARED(T, name) \
  T* const name = static_cast<T*>(     \
      ::strata::cuda_emulator::Block::Current().DynamicShared(std::source_location::current()))

inline void __syncthreads(std::source_location where = std::source_location::current()) {
  ::strata::cuda_emulator::Block::Current().Barrier(where);
}
inline void __syncwarp(uint32_t mask = 0xffffffffu,
                       std::source_location where = std::source_location::current()) {
  ::strata::cuda_emulator::Block::Current().Exchange(mask, &mask, sizeof(mask), "__syncwarp",
                                                     where);
}
template <typename T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32,
              std::source_location where = std::source_location::current()) {
  const int lane = ::strata::cuda_emulator::Block::Current().lane();
  return ::strata::cuda_emulator::Shuffle(
      mask, value, lane / width * width + (source & (width - 1)), "__shfl_sync", where);
}
template <typename T>
T __shfl_xor_sync(uint32_t mask, T value, int lane_mask, int width = 32,
                  std::source_location where = std::source_location::current()) {
  const int lane = ::strata::cuda_emulator::Block::Current().lane();
  const int source = lane ^ lane_mask;
  return ::strata::cuda_emulator::Shuffle(
      mask, value, source / width > lane / width ? lane : source, "__shfl_xor_sync", where);
}
template <typename T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = 32,
                   std::source_location where = std::source_location::current()) {
  const int lane = ::strata::cuda_emulator::Block::Current().lane();
  const int source = lane + static_cast<int>(delta);
  return ::strata::cuda_emulator::Shuffle(
      mask, value, source / width > lane / width ? lane : source, "__shfl_down_sync", where);
}

using std::max;
using std::min;

inline uint32_t __float_as_uint(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

#endif  // STRATA_TESTS_CUDA_EMULATOR_PRELUDE_H_
