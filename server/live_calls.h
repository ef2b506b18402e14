// Calls under way that were let in by a token, so that they can be ended when it is no longer good.

#ifndef STRATA_SERVER_LIVE_CALLS_H_
#define STRATA_SERVER_LIVE_CALLS_H_

#include <functional>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/caller.h"

namespace strata::server {

// Thread-safe.
class LiveCalls {
 public:
  // A call, for as long as it may still be ended.
  class Entry {
   public:
    Entry(LiveCalls* calls, Caller caller);
    // Waits for an `end` under way.
    ~Entry();
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

    const Caller& caller() const { return caller_; }
    using End = std::function<void(const absl::Status& why)>;
    // Calls `end`, once, as soon as the call has to end: now, if it has already. `end` must not
    // block, call this object, or destroy it.
    void WhenRevoked(End end);
    // Why the call had to end; OK if it has not.
    absl::Status revoked() const;

   private:
    friend class LiveCalls;
    LiveCalls* const calls_;
    const Caller caller_;
    // Guarded by calls_->mu_.
    End end_;
    absl::Status revoked_;
  };

  LiveCalls() = default;
  // REQUIRES: all entries are gone.
  ~LiveCalls();

  // Ends those whose caller `check` does not pass, with what it says.
  void Recheck(const std::function<absl::Status(const Caller&)>& check);

 private:
  mutable absl::Mutex mu_;
  std::set<Entry*> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace strata::server

#endif  // STRATA_SERVER_LIVE_CALLS_H_
