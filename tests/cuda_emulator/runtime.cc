// The part of the CUDA runtime that we use, against NVIDIA's own declarations.
// A use that would be undefined there ends the process; what CUDA reports, this reports.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "tests/cuda_emulator/block.h"
#include "tests/cuda_emulator/device_memory.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/prelude.h"
#include "tests/cuda_emulator/stream.h"

namespace strata::cuda_emulator {
namespace {

Settings settings;
std::atomic<int64_t> num_launches = 0;
std::atomic<int64_t> num_graph_launches = 0;
std::atomic<int64_t> num_synchronizations = 0;
std::atomic<int64_t> num_objects = 0;
constinit thread_local int current_device = 0;
constinit thread_local cudaError_t last_error = cudaSuccess;

// What kernels were allowed beyond 48 KiB, by cudaFuncSetAttribute.
struct DynamicShared {
  std::mutex mu;
  std::map<const void*, size_t> allowed;
};
DynamicShared& AllowedDynamicShared() {
  static DynamicShared allowed;
  return allowed;
}

cudaError_t Remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t NoDevice() {
  if (settings.driver_version == 0) return cudaErrorInsufficientDriver;
  return settings.num_devices == 0 ? cudaErrorNoDevice : cudaSuccess;
}

void RunGrid(const Block::Launch& launch, const Settings& run, uint64_t seed) {
  const DeviceAtWork at_work;
  const dim3 grid = launch.grid;
  std::vector<uint64_t> blocks(uint64_t{grid.x} * grid.y * grid.z);
  std::iota(blocks.begin(), blocks.end(), 0);
  if (run.schedule == Schedule::kReverse) std::reverse(blocks.begin(), blocks.end());
  if (run.schedule == Schedule::kRandom) {
    std::mt19937_64 random(seed);
    std::shuffle(blocks.begin(), blocks.end(), random);
  }
  Block block(launch, run, seed + 1);
  for (const uint64_t id : blocks) {
    const auto x = static_cast<unsigned>(id % grid.x);
    const auto y = static_cast<unsigned>(id / grid.x % grid.y);
    const auto z = static_cast<unsigned>(id / grid.x / grid.y);
    block.Run({x, y, z});
  }
  block.EndOfGrid();
}

cudaError_t CheckConfiguration(const cudaLaunchConfig_t& config, const void* function) {
  const dim3 g = config.gridDim;
  const dim3 b = config.blockDim;
  const uint64_t threads = uint64_t{b.x} * b.y * b.z;
  if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535 ||
      threads == 0 || threads > 1024 || b.z > 64) {
    return cudaErrorInvalidConfiguration;
  }
  if (config.dynamicSmemBytes <= kSharedBytesWithoutAsking) return cudaSuccess;
  DynamicShared& shared = AllowedDynamicShared();
  const std::lock_guard lock(shared.mu);
  const auto found = shared.allowed.find(function);
  const size_t allowed = found == shared.allowed.end() ? kSharedBytesWithoutAsking : found->second;
  return config.dynamicSmemBytes <= allowed ? cudaSuccess : cudaErrorInvalidValue;
}

// What a copy must be, or the real one would read or write what is not there.
void CheckCopy(const void* data, size_t size, bool should_be_device, const char* what) {
  const auto where = std::source_location::current();
  if (should_be_device && !IsDeviceMemory(data)) {
    Fail(std::string(what) + " of a copy is not in device memory", where);
  }
  if (!should_be_device && IsDeviceMemory(data)) {
    Fail(std::string(what) + " of a copy should be in host memory", where);
  }
  if (!IsWithinAllocation(data, size)) {
    Fail(std::string(what) + " of a copy of " + std::to_string(size) +
             " bytes goes beyond its allocation",
         where);
  }
}

void Copy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  CheckCopy(to, size, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice,
            "the destination");
  CheckCopy(from, size, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice,
            "the source");
  const DeviceAtWork at_work;
  std::memcpy(to, from, size);
}

// What a graph would do, but not as it did it when it was captured, or what cannot be captured.
void FailIfCapturing(cudaStream_t stream, const char* what) {
  if (!FromHandle(stream).capturing()) return;
  Fail(std::string(what) + " in a stream that is being captured", std::source_location::current());
}

}  // namespace

void Configure(const Settings& wanted) { settings = wanted; }
const Settings& CurrentSettings() { return settings; }

Counters CurrentCounters() {
  return {num_launches, num_graph_launches, num_synchronizations,
          num_objects + static_cast<int64_t>(NumAllocations())};
}

cudaError_t EnqueueLaunch(const cudaLaunchConfig_t& config, const void* function,
                          std::function<void()> kernel) {
  const cudaError_t error = CheckConfiguration(config, function);
  if (error != cudaSuccess) return Remember(error);
  ++num_launches;
  const Block::Launch launch = {config.gridDim, config.blockDim, config.dynamicSmemBytes,
                                std::move(kernel)};
  const uint64_t seed = settings.seed * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(num_launches);
  FromHandle(config.stream).Add([launch, run = settings, seed] { RunGrid(launch, run, seed); });
  return cudaSuccess;
}

}  // namespace strata::cuda_emulator

using namespace strata::cuda_emulator;  // NOLINT: its functions are C's from here on

extern "C" {

// ---- Devices and errors ----------------------------------------------------

cudaError_t cudaDriverGetVersion(int* version) {
  *version = settings.driver_version;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  const cudaError_t error = NoDevice();
  if (error != cudaSuccess) return Remember(error);
  *count = settings.num_devices;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= settings.num_devices) return Remember(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= settings.num_devices) return Remember(cudaErrorInvalidDevice);
  std::memset(static_cast<void*>(properties), 0, sizeof(*properties));
  std::snprintf(properties->name, sizeof(properties->name), "emulated GPU");
  properties->major = settings.compute_capability / 10;
  properties->minor = settings.compute_capability % 10;
  properties->totalGlobalMem = settings.memory_bytes;
  properties->multiProcessorCount = 4;
  properties->warpSize = kWarpThreads;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *total_bytes = settings.memory_bytes;
  *free_bytes = settings.memory_bytes - UsedBytes(current_device);
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    default:
      return "cudaErrorUnknown";
  }
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<size_t>(value) > kMaxSharedBytes) {
    return Remember(cudaErrorInvalidValue);
  }
  DynamicShared& shared = AllowedDynamicShared();
  const std::lock_guard lock(shared.mu);
  shared.allowed[function] = static_cast<size_t>(value);
  return cudaSuccess;
}

// ---- Memory ----------------------------------------------------------------

cudaError_t cudaMallocAsync(void** data, size_t size, cudaStream_t stream) {
  FailIfCapturing(stream, "memory is allocated");
  *data = AllocateDevice(current_device, size);
  return *data != nullptr ? cudaSuccess : Remember(cudaErrorMemoryAllocation);
}

cudaError_t cudaMalloc(void** data, size_t size) { return cudaMallocAsync(data, size, nullptr); }

cudaError_t cudaFreeAsync(void* data, cudaStream_t stream) {
  if (data == nullptr) return cudaSuccess;
  FailIfCapturing(stream, "memory is freed");
  FromHandle(stream).Add([data] {
    if (!FreeDevice(data)) {
      Fail("cudaFreeAsync of what is no device memory", std::source_location::current());
    }
  });
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  if (data != nullptr && !FreeDevice(data)) {
    Fail("cudaFree of what is no device memory", std::source_location::current());
  }
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** data, size_t size) {
  *data = AllocatePinned(size);
  return *data != nullptr ? cudaSuccess : Remember(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void* data) {
  if (data != nullptr && !FreePinned(data)) {
    Fail("cudaFreeHost of what is no pinned memory", std::source_location::current());
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  FromHandle(stream).Add([=] { Copy(to, from, size, kind); });
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  ++num_synchronizations;
  FromHandle(nullptr).Drain();
  Copy(to, from, size, kind);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* data, int value, size_t size, cudaStream_t stream) {
  FromHandle(stream).Add([=] {
    CheckCopy(data, size, true, "the destination");
    const DeviceAtWork at_work;
    std::memset(data, value, size);
  });
  return cudaSuccess;
}

// ---- Streams and events ----------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const cudaError_t error = NoDevice();
  if (error != cudaSuccess) return Remember(error);
  *stream = reinterpret_cast<cudaStream_t>(new Stream(settings.lazy_streams));
  ++num_objects;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (FromHandle(stream).capturing()) {
    Fail("a stream that is being captured cannot be waited for", std::source_location::current());
  }
  ++num_synchronizations;
  FromHandle(stream).Drain();
  return IsFailing("cudaStreamSynchronize") ? Remember(cudaErrorLaunchFailure) : cudaSuccess;
}

// Asking is the time in which a lazy stream works.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  FromHandle(stream).Advance();
  return FromHandle(stream).num_done() == FromHandle(stream).num_added() ? cudaSuccess
                                                                         : cudaErrorNotReady;
}

// What the stream still has to do is done, as CUDA promises.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  FromHandle(stream).Drain();
  delete reinterpret_cast<Stream*>(stream);
  --num_objects;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(new Event);
  ++num_objects;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream) {
  FailIfCapturing(stream, "an event is recorded");
  auto* event = reinterpret_cast<Event*>(handle);
  event->stream = &FromHandle(stream);
  event->position = event->stream->num_added();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  auto* event = reinterpret_cast<Event*>(handle);
  if (event->stream == nullptr || event->stream->num_done() >= event->position) return cudaSuccess;
  ++num_synchronizations;
  event->stream->Drain(event->position);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  auto* event = reinterpret_cast<Event*>(handle);
  if (event->stream == nullptr) return cudaSuccess;
  event->stream->Advance(event->position);
  return event->stream->num_done() >= event->position ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  delete reinterpret_cast<Event*>(handle);
  --num_objects;
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t handle, unsigned) {
  const Event event = *reinterpret_cast<Event*>(handle);
  if (event.stream == nullptr) return cudaSuccess;
  FromHandle(stream).Add([event] { event.stream->Drain(event.position); });
  return cudaSuccess;
}

// ---- Graphs ----------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  FromHandle(stream).BeginCapture();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = reinterpret_cast<cudaGraph_t>(FromHandle(stream).EndCapture());
  ++num_objects;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = reinterpret_cast<cudaGraphExec_t>(new Graph(*reinterpret_cast<Graph*>(graph)));
  ++num_objects;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  ++num_graph_launches;
  const Graph graph = *reinterpret_cast<Graph*>(executable);
  for (const Work& work : graph.work) FromHandle(stream).Add(work);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete reinterpret_cast<Graph*>(graph);
  --num_objects;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete reinterpret_cast<Graph*>(executable);
  --num_objects;
  return cudaSuccess;
}

}  // extern "C"
