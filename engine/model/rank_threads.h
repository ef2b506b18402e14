// The threads of a tensor-parallel group's ranks, one each, and the calls that
// they run side by side.

#ifndef STRATA_ENGINE_MODEL_RANK_THREADS_H_
#define STRATA_ENGINE_MODEL_RANK_THREADS_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernels/communicator.h"

namespace strata {

// Used from one thread at a time.
class RankThreads {
 public:
  // What a rank does in one call. It may run on after Run has given it up and the caller has gone:
  // it owns what it touches, or shares it.
  using Task = std::function<void(int rank)>;

  // Of a group's communicators, by rank, which `devices` share; each thread runs on its device's
  // cores. A rank may be `timeout` later than another. Throws std::system_error if threads cannot
  // be started.
  RankThreads(std::shared_ptr<std::vector<kernels::RankDevice>> devices,
              std::chrono::milliseconds timeout);
  // Waits for the threads, or, once a call has failed, leaves behind those that do not come back
  // soon.
  ~RankThreads();
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;

  // Runs the task for all ranks and waits for them. If one throws, or is too late, the group is
  // aborted, and this call and all after it throw CommunicatorError with the first reason.
  void Run(Task task);

 private:
  // What the threads share; it lives until the last of them has ended.
  struct Shared {
    std::shared_ptr<std::vector<kernels::RankDevice>> devices;
    Task task;                           // of this epoch
    std::atomic<bool> stopping = false;  // may be seen in the epoch before by a rank that is late
    std::atomic<uint32_t> epoch{0};      // changes after the two

    std::mutex mu;
    std::condition_variable changed;  // any of these, which mu guards
    std::vector<bool> running;        // ranks that are at this epoch's task
    std::vector<bool> ended;          // threads that have
    std::string failure;              // why the group has ended; empty: it has not

    bool AnyRunning() const;
    bool AllRunning() const;
    void Fail(int rank, const std::string& reason);
  };

  static void Work(const std::shared_ptr<Shared>& shared, int rank);
  void WaitForRanks(std::unique_lock<std::mutex>& lock);
  void Stop();

  const std::chrono::milliseconds timeout_;
  const std::shared_ptr<Shared> shared_;
  std::vector<std::thread> threads_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_MODEL_RANK_THREADS_H_
