// SIGTERM and SIGINT as something to wait for, without a signal handler.

#ifndef STRATA_SERVER_SHUTDOWN_SIGNAL_H_
#define STRATA_SERVER_SHUTDOWN_SIGNAL_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace strata::server {

// Create it first thing in main, before any thread, and once: it blocks the
// signals in this and all later threads and takes them on one of its own,
// which lives as long as the process.
// Until Arm, a signal ends the process at once: nothing is being served yet.
class ShutdownSignal {
 public:
  ShutdownSignal();
  ShutdownSignal(const ShutdownSignal&) = delete;
  ShutdownSignal& operator=(const ShutdownSignal&) = delete;

  void Arm();
  // Waits until `count` signals have come since Arm; false after `timeout`.
  bool Wait(int count, absl::Duration timeout);

 private:
  void OnSignal(int signal);

  absl::Mutex mu_;
  bool armed_ ABSL_GUARDED_BY(mu_) = false;
  int count_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_SHUTDOWN_SIGNAL_H_
