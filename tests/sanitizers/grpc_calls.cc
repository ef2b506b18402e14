// What ThreadSanitizer is told of the order that gRPC's callback API promises, and makes unseen:
// the distribution's gRPC is not instrumented, and hands calls from thread to thread without locks.
//
//   What begins an operation (StartWrite, Finish, ...) comes before its reaction (OnWriteDone,
//   ...). A method handler's end comes before OnCancel; all other reactions come before OnDone.
//
// And no more: what follows the begin of an operation is not ordered before its reaction, nor is
// OnCancel before or after other reactions. reactor_order_test.py holds both.

#include <grpc/grpc.h>
#include <grpcpp/support/server_callback.h>
#include <sanitizer/tsan_interface.h>

#include <atomic>
#include <cstddef>
#include <thread>

// Named on the link line: this comes before the archive's member of the same symbols.
extern "C" {
extern const int strata_grpc_calls;
const int strata_grpc_calls = 1;
}

// An operation has a tag. By --wrap on the link line, gRPC's C++ library calls these.
extern "C" {

grpc_call_error __real_grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t num_ops,
                                             void* tag, void* reserved);
grpc_call_error __wrap_grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t num_ops,
                                             void* tag, void* reserved) {
  __tsan_release(tag);
  return __real_grpc_call_start_batch(call, ops, num_ops, tag, reserved);
}

grpc_event __real_grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline,
                                             void* reserved);
grpc_event __wrap_grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline,
                                             void* reserved) {
  const grpc_event event = __real_grpc_completion_queue_next(queue, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

}  // extern "C"

// The library's own count down to OnCancel, run reactions and count on, all unseen. Here a reaction
// has a thread of its own, since the lock of a queue would order what nothing orders.
namespace grpc::internal {

void ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  callbacks_outstanding_.load(std::memory_order_acquire);  // after all who have counted down
  if (inline_ondone) return CallOnDone();
  std::thread([this] { CallOnDone(); }).detach();
}

void ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  on_cancel_conditions_remaining_.load(std::memory_order_acquire);
  if (reactor->InternalInlineable()) return reactor->OnCancel();
  Ref();
  std::thread([this, reactor] {
    reactor->OnCancel();
    MaybeDone();
  }).detach();
}

}  // namespace grpc::internal
