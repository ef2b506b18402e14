#include "tests/cuda_emulator/block.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <utility>

#include "tests/cuda_emulator/prelude.h"
#include "tests/cuda_emulator/race_edges.h"

namespace strata::cuda_emulator {
namespace {

constinit thread_local Block* current_block = nullptr;

// Stacks are kept between blocks.
std::vector<std::unique_ptr<Fiber>>& Fibers() {
  static thread_local std::vector<std::unique_ptr<Fiber>> fibers;
  return fibers;
}

// What runs blocks: the calling thread's own stack.
Fiber& Caller() {
  static thread_local Fiber caller;
  return caller;
}

bool Same(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         std::strcmp(a.file_name(), b.file_name()) == 0;
}

std::string Text(const std::source_location& where) {
  return std::string(where.file_name()) + ":" + std::to_string(where.line());
}

void FillWithNan(void* data, size_t size) { std::memset(data, 0xff, size); }

// By the first thread that asks, and yet no doing of its.
void* AllocateShared(size_t size) {
  const Unseen unseen;
  void* data = nullptr;
  if (posix_memalign(&data, 16, size) != 0) std::abort();
  FillWithNan(data, size);
  return data;
}

void FreeShared(void* data) {
  const Unseen unseen;
  std::free(data);
}

}  // namespace

void Fail(const std::string& what, const std::source_location& where) {
  std::fprintf(stderr, "cuda_emulator: %s: %s\n", Text(where).c_str(), what.c_str());
  std::abort();
}

Block::Block(Launch launch, const Settings& settings, uint64_t seed)
    : launch_(std::move(launch)),
      settings_(settings),
      random_(seed),
      num_threads_(static_cast<int>(launch_.block.x * launch_.block.y * launch_.block.z)),
      order_(num_threads_),
      position_(num_threads_),
      threads_(num_threads_),
      warps_((num_threads_ + kWarpThreads - 1) / kWarpThreads) {
  std::iota(order_.begin(), order_.end(), 0);
  if (settings_.schedule == Schedule::kReverse) std::reverse(order_.begin(), order_.end());
  while (static_cast<int>(Fibers().size()) < num_threads_) {
    Fibers().push_back(std::make_unique<Fiber>(&Block::ThreadMain));
  }
}

Block::~Block() {
  for (const SharedArray& array : shared_) FreeShared(array.data);
}

void Block::EndOfGrid() { AcquireOrder(&order_end_); }

Block& Block::Current() { return *current_block; }

void Block::Run(uint3 index) {
  index_ = index;
  if (settings_.schedule == Schedule::kRandom) {
    std::shuffle(order_.begin(), order_.end(), random_);
  }
  for (int i = 0; i < num_threads_; ++i) {
    position_[order_[i]] = i;
    threads_[i] = Thread();
    Fibers()[i]->Restart();
  }
  for (Warp& warp : warps_) warp.num_arrived = 0;
  for (SharedArray& array : shared_) {
    // Another block's array is another one to ThreadSanitizer only if it is allocated anew.
    if (kChecksRaces) {
      FreeShared(array.data);
      array.data = AllocateShared(array.size);
    } else {
      FillWithNan(array.data, array.size);
    }
  }
  num_at_barrier_ = 0;
  num_exited_ = 0;
  first_exited_ = -1;
  current_block = this;
  blockIdx = index;
  blockDim = launch_.block;
  gridDim = launch_.grid;
  // Blocks are ordered with their grid, and not with each other.
  ReleaseOrder(&order_begin_);
  Activate(order_[0]);
  Fiber::Switch(Caller(), *Fibers()[running_]);
  current_block = nullptr;
}

void Block::ThreadMain() {
  Fiber::Entered();
  AcquireOrder(&current_block->order_begin_);
  current_block->launch_.kernel();
  current_block->Exit();
}

void Block::Activate(int thread) {
  running_ = thread;
  const auto id = static_cast<unsigned>(thread);
  threadIdx.x = id % launch_.block.x;
  threadIdx.y = id / launch_.block.x % launch_.block.y;
  threadIdx.z = id / launch_.block.x / launch_.block.y;
}

int Block::NextRunnable() {
  const int start = settings_.schedule == Schedule::kRandom
                        ? static_cast<int>(random_() % static_cast<uint64_t>(num_threads_))
                        : position_[running_];
  for (int i = 1; i <= num_threads_; ++i) {
    const int thread = order_[(start + i) % num_threads_];
    if (threads_[thread].state == State::kRunnable) return thread;
  }
  return -1;
}

// Lets the others run; returns when this thread can go on.
void Block::Yield() {
  const int self = running_;
  const int next = NextRunnable();
  if (next < 0) FailDeadlock();
  if (next == self) return;
  Activate(next);
  Fiber::Switch(*Fibers()[self], *Fibers()[next]);
}

void Block::Exit() {
  const int self = running_;
  const Warp& warp = warps_[self / kWarpThreads];
  if (warp.num_arrived > 0) {
    Fail(Name(self) + " has exited, but others wait for it in " + warp.operation, warp.where);
  }
  if (num_at_barrier_ > 0) {
    Fail(Name(self) + " has exited, but others wait for it in __syncthreads", barrier_);
  }
  threads_[self].state = State::kExited;
  if (num_exited_++ == 0) first_exited_ = self;
  ReleaseOrder(&order_end_);
  if (num_exited_ == num_threads_) {
    Fiber::Switch(*Fibers()[self], Caller());
  } else {
    Yield();
  }
  std::abort();  // nobody switches to a thread that has exited
}

void Block::Barrier(const std::source_location& where) {
  if (num_exited_ > 0) {
    Fail(Name(running_) + " waits in __syncthreads, but " + Name(first_exited_) + " has exited",
         where);
  }
  if (num_at_barrier_ > 0 && !Same(barrier_, where)) {
    Fail("divergent __syncthreads: " + Name(running_) + " is here, others are at " + Text(barrier_),
         where);
  }
  barrier_ = where;
  // Of two, since a thread may be at the next barrier before another has left this one.
  char* const order = &barrier_order_[num_barriers_ & 1];
  ReleaseOrder(order);
  if (++num_at_barrier_ == num_threads_) {
    num_at_barrier_ = 0;
    ++num_barriers_;
    for (Thread& thread : threads_) thread.state = State::kRunnable;
  } else {
    threads_[running_].state = State::kAtBarrier;
    threads_[running_].where = where;
    Yield();
  }
  AcquireOrder(order);
}

const std::byte* Block::Exchange(uint32_t mask, const void* data, size_t size,
                                 const char* operation, const std::source_location& where) {
  const int self = running_;
  const int first = self - self % kWarpThreads;
  Warp& warp = warps_[self / kWarpThreads];
  if (mask != 0xffffffffu || first + kWarpThreads > num_threads_) {
    Fail(std::string(operation) + " of a part of a warp is not emulated", where);
  }
  for (int i = first; i < first + kWarpThreads; ++i) {
    if (threads_[i].state == State::kExited) {
      Fail(Name(self) + " waits in " + operation + ", but " + Name(i) + " has exited", where);
    }
  }
  if (warp.num_arrived > 0 && !Same(warp.where, where)) {
    Fail(std::string("divergent warp: ") + Name(self) + " is in " + operation + ", others are in " +
             warp.operation + " at " + Text(warp.where),
         where);
  }
  warp.where = where;
  warp.operation = operation;
  // Of two buffers, since a thread may be in the next operation before another has read this one.
  std::byte* brought = warp.brought[warp.num_operations & 1];
  std::memcpy(brought + lane() * kMaxExchangeBytes, data, size);
  ReleaseOrder(brought);
  if (++warp.num_arrived == kWarpThreads) {
    warp.num_arrived = 0;
    ++warp.num_operations;
    for (int i = first; i < first + kWarpThreads; ++i) threads_[i].state = State::kRunnable;
  } else {
    threads_[self].state = State::kInWarpOperation;
    threads_[self].where = where;
    Yield();
  }
  AcquireOrder(brought);
  return brought;
}

void* Block::Shared(size_t size, const std::source_location& where) {
  for (const SharedArray& array : shared_) {
    if (Same(array.where, where) && array.where.function_name() == where.function_name()) {
      return array.data;
    }
  }
  shared_bytes_ += size;
  if (shared_bytes_ > kSharedBytesWithoutAsking) {
    Fail("the block's shared memory comes to " + std::to_string(shared_bytes_) +
             " bytes; 48 KiB is the limit",
         where);
  }
  shared_.push_back({where, size, AllocateShared(size)});
  return shared_.back().data;
}

void* Block::DynamicShared(const std::source_location& where) {
  const size_t before = shared_bytes_;
  void* data = Shared(launch_.dynamic_shared_bytes, where);
  shared_bytes_ = before;  // the launch has checked it
  return data;
}

std::string Block::Name(int thread) const {
  return "thread " + std::to_string(thread) + " of block (" + std::to_string(index_.x) + ", " +
         std::to_string(index_.y) + ", " + std::to_string(index_.z) + ")";
}

void Block::FailDeadlock() {
  std::string states;
  for (int i = 0; i < num_threads_; ++i) {
    const Thread& thread = threads_[i];
    const bool first = i == 0 || thread.state != threads_[i - 1].state ||
                       !Same(thread.where, threads_[i - 1].where);
    if (!first) continue;
    states += "; from thread " + std::to_string(i) + " on ";
    states += thread.state == State::kExited
                  ? "they have exited"
                  : (thread.state == State::kAtBarrier ? "they wait in __syncthreads at "
                                                       : "they wait in a warp operation at ") +
                        Text(thread.where);
  }
  Fail("deadlock" + states, threads_[running_].where);
}

}  // namespace strata::cuda_emulator
