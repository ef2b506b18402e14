// absl::Mutex and absl::CondVar for programs under ThreadSanitizer, in the place of the
// distribution's.
//
// ThreadSanitizer sees order between threads where instrumented code or the C library makes it. The
// distribution's Abseil is not instrumented and has locks of its own making, so that whatever they
// guard would look like a race: in our code, and where gRPC hands work from thread to thread. Here
// the same locks are made of pthread's. A reader's lock is a writer's: a race among readers, of
// which the tree has none, would not be seen.

#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

// Named on the link line, so that this comes before the archive's member of the same symbols.
extern "C" {
extern const int strata_absl_mutex;
const int strata_absl_mutex = 1;
}

namespace {

struct Lock {
  std::mutex mu;
  int num_awaiting = 0;             // guarded by mu
  std::condition_variable changed;  // what is guarded may have, for those who await conditions
};

// Abseil's objects are a word, zero at first: it points to what stands for it.
template <typename T>
T& Of(const void* object) {
  auto& word = *static_cast<std::atomic<T*>*>(const_cast<void*>(object));
  T* standing = word.load(std::memory_order_acquire);
  if (standing != nullptr) return *standing;
  auto* made = new T;
  if (word.compare_exchange_strong(standing, made, std::memory_order_acq_rel)) return *made;
  delete made;
  return *standing;
}
static_assert(sizeof(absl::Mutex) == sizeof(void*) && sizeof(absl::CondVar) == sizeof(void*));

template <typename T>
T* Existing(const void* object) {
  return static_cast<const std::atomic<T*>*>(object)->load(std::memory_order_acquire);
}

Lock& LockOf(const absl::Mutex* mutex) { return Of<Lock>(mutex); }

// Those who await conditions look again once the lock is free.
void WakeAwaiting(Lock* lock) {
  if (lock->num_awaiting > 0) lock->changed.notify_all();
}

// Waits for `variable` with `held` locked, at most until `deadline`; false: that has passed.
bool WaitUntil(std::condition_variable* variable, std::mutex* held, absl::Time deadline) {
  std::unique_lock lock(*held, std::adopt_lock);
  bool in_time = true;
  if (deadline == absl::InfiniteFuture()) {
    variable->wait(lock);
  } else {
    in_time =
        variable->wait_until(lock, absl::ToChronoTime(deadline)) == std::cv_status::no_timeout;
  }
  lock.release();
  return in_time;
}

// False: the deadline has passed, and the condition is false.
bool Await(Lock* lock, const absl::Condition& condition, absl::Time deadline) {
  bool in_time = true;
  while (!condition.Eval()) {
    if (!in_time) return false;
    WakeAwaiting(lock);
    ++lock->num_awaiting;
    in_time = WaitUntil(&lock->changed, &lock->mu, deadline);
    --lock->num_awaiting;
  }
  return true;
}

absl::Time In(absl::Duration timeout) {
  return timeout == absl::InfiniteDuration() ? absl::InfiniteFuture() : absl::Now() + timeout;
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

Mutex::~Mutex() {
  auto* const lock = Existing<::Lock>(this);
  if (lock == nullptr) return;
  // gRPC counts an object's users down, unseen, and destroys its lock after the last one's unlock.
  lock->mu.lock();
  lock->mu.unlock();
  delete lock;
}
void Mutex::Lock() { LockOf(this).mu.lock(); }
bool Mutex::TryLock() { return LockOf(this).mu.try_lock(); }
void Mutex::Unlock() {
  ::Lock& lock = LockOf(this);
  WakeAwaiting(&lock);
  lock.mu.unlock();
}
void Mutex::ReaderLock() { Lock(); }
bool Mutex::ReaderTryLock() { return TryLock(); }
void Mutex::ReaderUnlock() { Unlock(); }
void Mutex::AssertHeld() const {}
void Mutex::AssertReaderHeld() const {}
void Mutex::AssertNotHeld() const {}
void Mutex::ForgetDeadlockInfo() {}

void Mutex::Await(const Condition& condition) {
  ::Await(&LockOf(this), condition, InfiniteFuture());
}
bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  return ::Await(&LockOf(this), condition, deadline);
}
bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  return ::Await(&LockOf(this), condition, In(timeout));
}
bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  Lock();
  return AwaitWithDeadline(condition, deadline);
}
bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockWhenWithDeadline(condition, In(timeout));
}
void Mutex::LockWhen(const Condition& condition) {
  LockWhenWithDeadline(condition, InfiniteFuture());
}
bool Mutex::ReaderLockWhenWithDeadline(const Condition& condition, Time deadline) {
  return LockWhenWithDeadline(condition, deadline);
}
bool Mutex::ReaderLockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockWhenWithTimeout(condition, timeout);
}
void Mutex::ReaderLockWhen(const Condition& condition) { LockWhen(condition); }

void ReleasableMutexLock::Release() {
  mu_->Unlock();
  mu_ = nullptr;
}

CondVar::~CondVar() { delete Existing<std::condition_variable>(this); }
void CondVar::Signal() { Of<std::condition_variable>(this).notify_one(); }
void CondVar::SignalAll() { Of<std::condition_variable>(this).notify_all(); }
bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  ::Lock& lock = LockOf(mutex);
  WakeAwaiting(&lock);
  return !WaitUntil(&Of<std::condition_variable>(this), &lock.mu, deadline);
}
bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  return WaitWithDeadline(mutex, In(timeout));
}
void CondVar::Wait(Mutex* mutex) { WaitWithDeadline(mutex, InfiniteFuture()); }

Condition::Condition() : eval_(nullptr), function_(nullptr), method_(nullptr), arg_(nullptr) {}
Condition::Condition(bool (*function)(void*), void* argument)
    : eval_(&CallVoidPtrFunction), function_(function), method_(nullptr), arg_(argument) {}
Condition::Condition(const bool* value)
    : Condition([](void* is_true) { return *static_cast<bool*>(is_true); },
                const_cast<bool*>(value)) {}
bool Condition::CallVoidPtrFunction(const Condition* condition) {
  return condition->function_(condition->arg_);
}
bool Condition::Eval() const { return eval_ == nullptr || eval_(this); }
const Condition Condition::kTrue;

ABSL_NAMESPACE_END
}  // namespace absl
