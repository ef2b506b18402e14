#include "tests/cuda_emulator/stream.h"

#include <utility>

#include "tests/cuda_emulator/emulator.h"

namespace strata::cuda_emulator {

void Stream::Add(Work work) {
  if (captured_ != nullptr) {
    captured_->work.push_back(std::move(work));
    return;
  }
  waiting_.push_back(std::move(work));
  ++num_added_;
  if (!lazy_) Drain();
}

void Stream::Drain(int64_t count) {
  while (num_done() < count) {
    // Taken out only when done: work may ask how far the stream is.
    const Work work = std::move(waiting_.front());
    work();
    waiting_.pop_front();
  }
}

Graph* Stream::EndCapture() { return std::exchange(captured_, nullptr); }

Stream& FromHandle(cudaStream_t handle) {
  static thread_local Stream legacy(false);
  return handle == nullptr ? legacy : *reinterpret_cast<Stream*>(handle);
}

}  // namespace strata::cuda_emulator
