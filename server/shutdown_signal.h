// SIGTERM and SIGINT as something to wait for, SIGHUP as something to do, without a signal handler.

#ifndef STRATA_SERVER_SHUTDOWN_SIGNAL_H_
#define STRATA_SERVER_SHUTDOWN_SIGNAL_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>

namespace strata::server {

// Create it first thing in main, before any thread, and once: it blocks the
// signals in this and all later threads and takes them on one of its own,
// which lives as long as the process.
// Until Arm, a signal ends the process at once: nothing is being served yet. So does a third
// SIGTERM or SIGINT: whatever the first two were to bring about does not happen.
class ShutdownSignal {
 public:
  ShutdownSignal();
  ShutdownSignal(const ShutdownSignal&) = delete;
  ShutdownSignal& operator=(const ShutdownSignal&) = delete;

  // `on_hangup` is called on the signals' own thread, at each SIGHUP from now on until Disarm.
  void Arm(std::function<void()> on_hangup);
  // Waits for an `on_hangup` under way.
  void Disarm();
  // Waits until `count` signals have come since Arm; false after `timeout`.
  bool Wait(int count, std::chrono::milliseconds timeout);

 private:
  void OnSignal(int signal);

  std::mutex hangup_mu_;             // held while on_hangup_ runs
  std::function<void()> on_hangup_;  // guarded by hangup_mu_

  std::mutex mu_;
  std::condition_variable counted_;
  // Guarded by mu_.
  bool armed_ = false;
  int count_ = 0;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_SHUTDOWN_SIGNAL_H_
