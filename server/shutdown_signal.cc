#include "server/shutdown_signal.h"

#include <pthread.h>
#include <signal.h>

#include <cstdlib>
#include <thread>

namespace strata::server {

ShutdownSignal::ShutdownSignal() {
  static sigset_t signals;  // for the thread below, which may outlive this
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([this] {
    int signal = 0;
    while (sigwait(&signals, &signal) == 0) OnSignal(signal);
  }).detach();
}

void ShutdownSignal::OnSignal(int signal) {
  absl::MutexLock lock(&mu_);
  // The shell's convention for "ended by a signal".
  if (!armed_) std::_Exit(128 + signal);
  ++count_;
}

void ShutdownSignal::Arm() {
  absl::MutexLock lock(&mu_);
  armed_ = true;
}

bool ShutdownSignal::Wait(int count, absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  const auto reached = [this, count]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return count_ >= count; };
  return mu_.AwaitWithTimeout(absl::Condition(&reached), timeout);
}

}  // namespace strata::server
