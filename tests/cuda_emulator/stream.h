// Streams, events and graphs: work in order, done at once or when somebody waits.

#ifndef STRATA_TESTS_CUDA_EMULATOR_STREAM_H_
#define STRATA_TESTS_CUDA_EMULATOR_STREAM_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

namespace strata::cuda_emulator {

using Work = std::function<void()>;

struct Graph {
  std::vector<Work> work;
};

// Used by one thread at a time, as by our backends.
class Stream {
 public:
  explicit Stream(bool lazy) : lazy_(lazy) {}

  // Does the work now, or later, or puts it into the graph that is being captured.
  void Add(Work work);
  // The same for what has to wait for other threads: done when it returns true.
  void AddUntilDone(std::function<bool()> work);
  // Does all work, or the first `count` ever added: what can be done without waiting, or, to drain
  // it, all of that.
  void Advance() { Advance(num_added_); }
  void Advance(int64_t count);
  void Drain() { Drain(num_added_); }
  void Drain(int64_t count);
  int64_t num_added() const { return num_added_; }
  int64_t num_done() const { return num_added_ - static_cast<int64_t>(waiting_.size()); }

  bool capturing() const { return captured_ != nullptr; }
  void BeginCapture() { captured_ = new Graph; }
  Graph* EndCapture();

 private:
  const bool lazy_;
  std::deque<std::function<bool()>> waiting_;
  int64_t num_added_ = 0;
  Graph* captured_ = nullptr;
};

struct Event {
  Stream* stream = nullptr;  // null: not recorded
  int64_t position = 0;      // done when the stream has done so much
};

// Null is the legacy default stream, of which each thread has its own here.
Stream& FromHandle(cudaStream_t handle);

}  // namespace strata::cuda_emulator

#endif  // STRATA_TESTS_CUDA_EMULATOR_STREAM_H_
