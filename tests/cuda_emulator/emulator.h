// Runs CUDA sources on a CPU, strictly: what tests say to the emulator.
//
// The .cu files of kernels/cuda/ are compiled by the host's compiler against
// NVIDIA's own headers, with prelude.h in front of them. Each CUDA thread is a
// fiber. What the device language promises is given, and nothing more: threads
// of a warp do not run in step, shared and fresh device memory is full of NaN,
// host code cannot touch device memory (under AddressSanitizer), and with lazy
// streams nothing happens before somebody waits for it. A broken rule ends the
// process with one line that says which, where, and who.
//
// What this cannot show: real cuBLAS, rounding in tensor cores, the device's
// memory model between blocks, drivers, and speed.

#ifndef STRATA_TESTS_CUDA_EMULATOR_EMULATOR_H_
#define STRATA_TESTS_CUDA_EMULATOR_EMULATOR_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace strata::cuda_emulator {

// In which order blocks, and the threads of a block, get the processor. A
// thread runs until it has to wait.
enum class Schedule { kForward, kReverse, kRandom };

struct Settings {
  Schedule schedule = Schedule::kForward;
  uint64_t seed = 1;          // of kRandom
  bool lazy_streams = false;  // work waits in its stream until somebody synchronises
  int num_devices = 1;
  int driver_version = 13050;  // as cudaDriverGetVersion gives it; 0: no driver
  int compute_capability = 90;
  size_t memory_bytes = size_t{1} << 30;  // of each device
  std::string_view failing = {};          // a function of cudart, cuBLAS or NCCL; empty: none
};

// Between launches, while no stream has work. Streams made later follow it too.
void Configure(const Settings& settings);
const Settings& CurrentSettings();
inline bool IsFailing(std::string_view function) { return CurrentSettings().failing == function; }

struct Counters {
  int64_t launches = 0;  // of kernels by themselves, or into a graph
  int64_t graph_launches = 0;
  int64_t synchronizations = 0;  // waits for a stream, or an event to come; copies that wait
  int64_t live_allocations = 0;  // device and pinned host memory, streams, events, graphs
};
Counters CurrentCounters();

}  // namespace strata::cuda_emulator

#endif  // STRATA_TESTS_CUDA_EMULATOR_EMULATOR_H_
