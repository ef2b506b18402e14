#include "server/write_thread.h"

#include <utility>

namespace strata::server {

WriteThread::~WriteThread() {
  {
    absl::MutexLock lock(&mu_);
    ends_ = true;
  }
  thread_.join();
}

void WriteThread::Do(std::function<void()> work) {
  absl::MutexLock lock(&mu_);
  waiting_.push_back(std::move(work));
}

void WriteThread::RunAll() {
  std::vector<std::function<void()>> works;  // both keep their memory
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &WriteThread::HasWork));
      if (waiting_.empty()) return;
      std::swap(works, waiting_);
    }
    for (const std::function<void()>& work : works) work();
    works.clear();
  }
}

}  // namespace strata::server
