#include "server/live_calls.h"

#include <cassert>

namespace strata::server {

LiveCalls::Entry::Entry(LiveCalls* calls, Caller caller)
    : calls_(calls), caller_(std::move(caller)) {
  if (caller_.token() == nullptr) return;  // nothing to revoke
  absl::MutexLock lock(&calls_->mu_);
  calls_->entries_.insert(this);
}

LiveCalls::Entry::~Entry() {
  absl::MutexLock lock(&calls_->mu_);
  calls_->entries_.erase(this);
}

void LiveCalls::Entry::WhenRevoked(End end) {
  absl::MutexLock lock(&calls_->mu_);
  if (revoked_.ok()) {
    end_ = std::move(end);
  } else {
    end(revoked_);
  }
}

absl::Status LiveCalls::Entry::revoked() const {
  absl::MutexLock lock(&calls_->mu_);
  return revoked_;
}

LiveCalls::~LiveCalls() {
  // The lock also orders this behind the end of the last entry, on whatever thread that was.
  absl::MutexLock lock(&mu_);
  assert(entries_.empty());
}

void LiveCalls::Recheck(const std::function<absl::Status(const Caller&)>& check) {
  absl::MutexLock lock(&mu_);
  for (Entry* entry : entries_) {
    if (!entry->revoked_.ok()) continue;
    entry->revoked_ = check(entry->caller_);
    if (entry->revoked_.ok() || !entry->end_) continue;
    entry->end_(entry->revoked_);
    entry->end_ = nullptr;
  }
}

}  // namespace strata::server
