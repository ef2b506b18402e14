#include "server/write_thread.h"

#include <utility>

namespace strata::server {

WriteThread::~WriteThread() {
  {
    std::lock_guard lock(mu_);
    ends_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

void WriteThread::Do(std::function<void()> work) {
  std::lock_guard lock(mu_);
  waiting_.push_back(std::move(work));
  if (waiting_.size() == 1) wake_.notify_one();
}

void WriteThread::RunAll() {
  std::vector<std::function<void()>> works;  // both keep their memory
  std::unique_lock lock(mu_);
  while (true) {
    wake_.wait(lock, [this] { return ends_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    std::swap(works, waiting_);
    lock.unlock();
    const auto begin = std::chrono::steady_clock::now();
    for (const std::function<void()>& work : works) work();
    works.clear();
    lock.lock();
    if (interval_.count() == 0) continue;
    wake_.wait_until(lock, begin + interval_, [this] { return ends_; });
  }
}

}  // namespace strata::server
