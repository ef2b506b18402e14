// Starts writes of streams in the place of the engine's step thread: gRPC takes tens of
// microseconds for each, which every other stream would wait for.

#ifndef STRATA_SERVER_WRITE_THREAD_H_
#define STRATA_SERVER_WRITE_THREAD_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace strata::server {

// Thread-safe.
class WriteThread {
 public:
  // What waits is done together, at most once per `interval`; zero: as soon as there is any.
  explicit WriteThread(std::chrono::milliseconds interval)
      : interval_(interval), thread_([this] { RunAll(); }) {}
  // Does what waits, at once.
  ~WriteThread();

  // `work` is done within `interval`, after what came before. It must not block. A stream has one
  // piece at a time, so that what waits is bounded by the calls in flight.
  void Do(std::function<void()> work);

 private:
  void RunAll();

  const std::chrono::milliseconds interval_;
  std::mutex mu_;  // guards what follows; not absl's, whose time-outs follow the wall clock
  std::condition_variable wake_;
  std::vector<std::function<void()>> waiting_;
  bool ends_ = false;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace strata::server

#endif  // STRATA_SERVER_WRITE_THREAD_H_
