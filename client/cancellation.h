// Ends a call from another thread.

#ifndef STRATA_CLIENT_CANCELLATION_H_
#define STRATA_CLIENT_CANCELLATION_H_

#include <grpcpp/client_context.h>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace strata::client {

// Of one call, or of several one after the other. Thread-safe.
class Cancellation {
 public:
  // Ends the call that runs, and at once each that begins later.
  void Cancel() {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }

 private:
  friend class AttachedContext;

  void Attach(grpc::ClientContext* context) {
    absl::MutexLock lock(&mu_);
    context_ = context;
    if (context_ != nullptr && cancelled_) context_->TryCancel();
  }

  absl::Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;  // of the call that runs
};

}  // namespace strata::client

#endif  // STRATA_CLIENT_CANCELLATION_H_
