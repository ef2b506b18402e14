#include "engine/model/rank_threads.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "kernels/cpu/cores.h"
#include "kernels/spin_wait.h"

namespace strata {
namespace {

// For ranks of a group that has ended to notice: those that compute do so at their next collective.
constexpr std::chrono::seconds kGrace{1};

}  // namespace

bool RankThreads::Shared::AnyRunning() const {
  return std::find(running.begin(), running.end(), true) != running.end();
}
bool RankThreads::Shared::AllRunning() const {
  return std::find(running.begin(), running.end(), false) == running.end();
}

void RankThreads::Shared::Fail(int rank, const std::string& reason) {
  (*devices)[rank].communicator->Abort(reason);
  std::lock_guard lock(mu);
  if (failure.empty()) failure = reason;
}

RankThreads::RankThreads(std::shared_ptr<std::vector<kernels::RankDevice>> devices,
                         std::chrono::milliseconds timeout)
    : timeout_(timeout), shared_(std::make_shared<Shared>()) {
  const size_t count = devices->size();
  shared_->devices = std::move(devices);
  shared_->running.resize(count, false);
  shared_->ended.resize(count, false);
  try {
    for (size_t rank = 0; rank < count; ++rank) {
      threads_.emplace_back(Work, shared_, static_cast<int>(rank));
    }
  } catch (...) {
    Stop();
    throw;
  }
}

RankThreads::~RankThreads() { Stop(); }

void RankThreads::Stop() {
  std::unique_lock lock(shared_->mu);
  shared_->stopping = true;
  shared_->epoch.fetch_add(1, std::memory_order_release);
  shared_->epoch.notify_all();
  const auto all_ended = [this] {
    return std::all_of(threads_.begin(), threads_.end(), [this](const std::thread& thread) {
      return shared_->ended[&thread - threads_.data()];
    });
  };
  if (shared_->failure.empty()) {
    shared_->changed.wait(lock, all_ended);
  } else {
    shared_->changed.wait_for(lock, kGrace, all_ended);
  }
  const std::vector<bool> ended = shared_->ended;
  lock.unlock();
  for (size_t rank = 0; rank < threads_.size(); ++rank) {
    if (ended[rank]) {
      threads_[rank].join();
    } else {
      threads_[rank].detach();
    }
  }
}

void RankThreads::Work(const std::shared_ptr<Shared>& shared, int rank) {
  kernels::BindThisThread((*shared->devices)[rank].cores);
  for (uint32_t seen = 0;;) {
    kernels::WaitWhileEqual(shared->epoch, seen);
    seen = shared->epoch.load(std::memory_order_acquire);
    if (shared->stopping) break;
    try {
      shared->task(rank);
    } catch (const kernels::CommunicatorError& error) {
      shared->Fail(rank, error.what());  // it names the rank that is to blame
    } catch (const std::bad_alloc&) {
      shared->Fail(rank, fmt::format("rank {}: out of memory", rank));
    } catch (const std::exception& error) {
      shared->Fail(rank, fmt::format("rank {}: {}", rank, error.what()));
    }
    std::lock_guard lock(shared->mu);
    shared->running[rank] = false;
    shared->changed.notify_all();
  }
  std::lock_guard lock(shared->mu);
  shared->ended[rank] = true;
  shared->changed.notify_all();
}

void RankThreads::Run(Task task) {
  std::unique_lock lock(shared_->mu);
  if (shared_->failure.empty()) {
    shared_->task = std::move(task);
    std::fill(shared_->running.begin(), shared_->running.end(), true);
    shared_->epoch.fetch_add(1, std::memory_order_release);
    shared_->epoch.notify_all();
    WaitForRanks(lock);
  }
  if (!shared_->failure.empty()) throw kernels::CommunicatorError(shared_->failure);
}

// The ranks do equal work: how long it takes is nobody's fault, but the first to be done shows how
// long it should have taken the others.
void RankThreads::WaitForRanks(std::unique_lock<std::mutex>& lock) {
  const auto done = [this] { return !shared_->AnyRunning(); };
  shared_->changed.wait(lock, [this] { return !shared_->AllRunning(); });
  shared_->changed.wait_for(lock, timeout_, [&] { return done() || !shared_->failure.empty(); });
  if (done()) return;
  if (shared_->failure.empty()) {
    std::vector<size_t> late;
    for (size_t rank = 0; rank < shared_->running.size(); ++rank) {
      if (shared_->running[rank]) late.push_back(rank);
    }
    lock.unlock();
    shared_->Fail(0, fmt::format("rank {} has not finished within {} ms of the others",
                                 fmt::join(late, ", "), timeout_.count()));
    lock.lock();
  }
  shared_->changed.wait_for(lock, kGrace, done);
}

}  // namespace strata
