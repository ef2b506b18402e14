#include "tests/cuda_emulator/stream.h"

#include <chrono>
#include <thread>
#include <utility>

namespace strata::cuda_emulator {
namespace {

constexpr std::chrono::microseconds kPause(50);

}  // namespace

void Stream::Add(Work work) {
  if (captured_ != nullptr) {
    captured_->work.push_back(std::move(work));
    return;
  }
  AddUntilDone([work = std::move(work)] {
    work();
    return true;
  });
}

void Stream::AddUntilDone(std::function<bool()> work) {
  waiting_.push_back(std::move(work));
  ++num_added_;
  if (!lazy_) Advance();
}

void Stream::Advance(int64_t count) {
  // Taken out only when done: work may ask how far the stream is.
  while (num_done() < count && waiting_.front()()) waiting_.pop_front();
}

void Stream::Drain(int64_t count) {
  for (Advance(count); num_done() < count; Advance(count)) std::this_thread::sleep_for(kPause);
}

Graph* Stream::EndCapture() { return std::exchange(captured_, nullptr); }

Stream& FromHandle(cudaStream_t handle) {
  static thread_local Stream legacy(false);
  return handle == nullptr ? legacy : *reinterpret_cast<Stream*>(handle);
}

}  // namespace strata::cuda_emulator
