#include "server/shutdown_signal.h"

#include <pthread.h>
#include <signal.h>

#include <cstdlib>
#include <thread>
#include <utility>

namespace strata::server {

ShutdownSignal::ShutdownSignal() {
  static sigset_t signals;  // for the thread below, which may outlive this
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([this] {
    int signal = 0;
    while (sigwait(&signals, &signal) == 0) OnSignal(signal);
  }).detach();
}

void ShutdownSignal::OnSignal(int signal) {
  {
    std::lock_guard lock(mu_);
    // The shell's convention for "ended by a signal".
    if (!armed_) std::_Exit(128 + signal);
    if (signal != SIGHUP && ++count_ > 2) std::_Exit(128 + signal);
    counted_.notify_all();
  }
  if (signal != SIGHUP) return;
  std::lock_guard lock(hangup_mu_);
  if (on_hangup_) on_hangup_();
}

void ShutdownSignal::Arm(std::function<void()> on_hangup) {
  {
    std::lock_guard lock(hangup_mu_);
    on_hangup_ = std::move(on_hangup);
  }
  std::lock_guard lock(mu_);
  armed_ = true;
}

void ShutdownSignal::Disarm() {
  std::lock_guard lock(hangup_mu_);
  on_hangup_ = nullptr;
}

bool ShutdownSignal::Wait(int count, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mu_);
  return counted_.wait_for(lock, timeout, [this, count] { return count_ >= count; });
}

}  // namespace strata::server
