// The threads of one block: their turns, barriers, warp operations and shared memory.

#ifndef STRATA_TESTS_CUDA_EMULATOR_BLOCK_H_
#define STRATA_TESTS_CUDA_EMULATOR_BLOCK_H_

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <source_location>
#include <string>
#include <vector>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/fiber.h"

namespace strata::cuda_emulator {

inline constexpr int kWarpThreads = 32;
inline constexpr size_t kSharedBytesWithoutAsking = 48 << 10;
inline constexpr size_t kMaxSharedBytes = 227 << 10;
// What a thread may give to the others of its warp at once.
inline constexpr size_t kMaxExchangeBytes = 32;

// Prints what rule was broken, and where, and ends the process.
[[noreturn]] void Fail(const std::string& what, const std::source_location& where);

class Block {
 public:
  struct Launch {
    dim3 grid;
    dim3 block;
    size_t dynamic_shared_bytes = 0;
    std::function<void()> kernel;  // what one thread does
  };
  Block(Launch launch, const Settings& settings, uint64_t seed);
  ~Block();

  // Runs the block at `index` to its end.
  void Run(uint3 index);
  // After the last block: what they all did has happened.
  void EndOfGrid();

  // ---- For the running thread. ----
  static Block& Current();
  void Barrier(const std::source_location& where);
  // Waits for the threads of the warp, each of which brings `size` bytes. Returns what all have
  // brought, kMaxExchangeBytes apart, valid until the thread's next warp operation. `mask` must
  // be the whole warp.
  const std::byte* Exchange(uint32_t mask, const void* data, size_t size, const char* operation,
                            const std::source_location& where);
  // The same memory for all threads that ask from `where`: exactly `size` bytes, full of NaN.
  void* Shared(size_t size, const std::source_location& where);
  void* DynamicShared(const std::source_location& where);
  int lane() const { return running_ % kWarpThreads; }

 private:
  enum class State : uint8_t { kRunnable, kAtBarrier, kInWarpOperation, kExited };
  struct Thread {
    State state = State::kRunnable;
    std::source_location where;
  };
  struct Warp {
    int num_arrived = 0;
    int64_t num_operations = 0;
    const char* operation = nullptr;
    std::source_location where;
    alignas(16) std::byte brought[2][kWarpThreads * kMaxExchangeBytes];
  };
  struct SharedArray {
    std::source_location where;
    size_t size = 0;
    void* data = nullptr;
  };

  static void ThreadMain();
  void Exit();
  void Yield();
  int NextRunnable();
  void Activate(int thread);
  [[noreturn]] void FailDeadlock();
  std::string Name(int thread) const;

  const Launch launch_;
  const Settings settings_;
  std::mt19937_64 random_;
  const int num_threads_;
  std::vector<int> order_;     // turns
  std::vector<int> position_;  // of each thread in order_
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<SharedArray> shared_;
  size_t shared_bytes_ = 0;
  int running_ = -1;
  int num_at_barrier_ = 0;
  std::source_location barrier_;
  int64_t num_barriers_ = 0;
  // Addresses for race_edges.h.
  char barrier_order_[2] = {};
  char order_begin_ = 0;
  char order_end_ = 0;
  int num_exited_ = 0;
  int first_exited_ = -1;
  uint3 index_{};
};

}  // namespace strata::cuda_emulator

#endif  // STRATA_TESTS_CUDA_EMULATOR_BLOCK_H_
