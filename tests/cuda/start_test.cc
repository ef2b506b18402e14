// How the CUDA backend starts, and what it says where it cannot.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "kernels/cuda/cuda_backend.h"
#include "tests/cuda_emulator/emulator.h"

namespace strata::kernels {
namespace {

using cuda_emulator::Settings;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string MessageOf(const std::function<void()>& action) {
  try {
    action();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "no error";
}

std::string StartMessage(const Settings& settings, int device = 0) {
  cuda_emulator::Configure(settings);
  return MessageOf([&] { CreateCudaBackend({WeightFormat::kBF16, device, true}); });
}

TEST(CudaStart, DescribesItself) {
  EXPECT_TRUE(HasCudaBackend());
  cuda_emulator::Configure({});
  EXPECT_EQ(CreateCudaBackend({WeightFormat::kInt4, 0, true})->Description(),
            "cuda GPU 0 (emulated GPU), int4 weights, deterministic");
  EXPECT_EQ(CreateCudaBackend({WeightFormat::kBF16, 0, false})->Description(),
            "cuda GPU 0 (emulated GPU), bf16 weights");
}

TEST(CudaStart, WithoutADriverSaysSo) {
  EXPECT_THAT(StartMessage({.driver_version = 0}),
              AllOf(HasSubstr("no CUDA device is present"), HasSubstr("no NVIDIA driver")));
}

TEST(CudaStart, AnOldDriverIsNamed) {
  EXPECT_THAT(StartMessage({.driver_version = 12040}),
              AllOf(HasSubstr("too old"), HasSubstr("12.4"), HasSubstr("13.0")));
  EXPECT_EQ(StartMessage({.driver_version = 13000}), "no error");
}

TEST(CudaStart, TooFewDevicesAreCounted) {
  EXPECT_THAT(StartMessage({.num_devices = 0}), HasSubstr("no CUDA device is present"));
  EXPECT_THAT(StartMessage({.num_devices = 2}, 3),
              AllOf(HasSubstr("4 are needed"), HasSubstr("has 2")));
  EXPECT_EQ(StartMessage({.num_devices = 2}, 1), "no error");
}

TEST(CudaStart, AnOldDeviceIsRefused) {
  EXPECT_THAT(StartMessage({.compute_capability = 75}),
              AllOf(HasSubstr("compute capability 7.5"), HasSubstr("8.0")));
}

TEST(CudaStart, OutOfMemorySaysHowMuchIsNeededAndThere) {
  cuda_emulator::Configure({.memory_bytes = size_t{1} << 20});
  const auto backend = CreateCudaBackend({});
  const Buffer taken = backend->Allocate(700'000);
  EXPECT_THAT(MessageOf([&] { backend->Allocate(400'000); }),
              AllOf(HasSubstr("GPU 0 (emulated GPU) is out of memory"), HasSubstr("400000 bytes"),
                    HasSubstr("0.00 GiB of 0.00 GiB are free")));
  EXPECT_THAT(MessageOf([&] {
                backend->CreateKvCache({2, 2, 64, 1000});
              }),
              HasSubstr("out of memory"));
  // What failed has left nothing behind, and the rest still works.
  EXPECT_NO_THROW(backend->Allocate(300'000));
}

TEST(CudaStart, LeavesNothingBehind) {
  cuda_emulator::Configure({.lazy_streams = true});
  const int64_t before = cuda_emulator::CurrentCounters().live_allocations;
  {
    const auto backend = CreateCudaBackend({});
    const Buffer buffer = backend->Allocate(1000);
    const auto kv = backend->CreateKvCache({1, 1, 16, 2});
    const std::vector<float> ones(1000 / 4, 1.0f);
    backend->CopyToDevice(buffer.data(), ones.data(), 1000);
    EXPECT_EQ(backend->ReadBack(buffer.View(DType::kF32, 1, 250))[249], 1.0f);
    EXPECT_GT(cuda_emulator::CurrentCounters().live_allocations, before);
  }
  EXPECT_EQ(cuda_emulator::CurrentCounters().live_allocations, before);
}

}  // namespace
}  // namespace strata::kernels
