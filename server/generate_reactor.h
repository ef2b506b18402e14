// One streaming Generate call: the engine's events go through a queue into
// writes, one at a time, by the server's WriteThread.

#ifndef STRATA_SERVER_GENERATE_REACTOR_H_
#define STRATA_SERVER_GENERATE_REACTOR_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "engine/engine.h"
#include "server/call.h"
#include "server/event_translation.h"
#include "server/response_queue.h"
#include "server/serving.h"
#include "strata/v1/inference.pb.h"

namespace strata::server {

// Owns itself: gRPC calls OnDone last, which deletes it. Finish is called only
// after the engine's OnDone, so the engine never holds a sink of a dead
// reactor.
class GenerateReactor final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  // Checks and submits `request`; on failure the call ends with that status.
  static GenerateReactor* Start(const Serving& serving, grpc::CallbackServerContext* context,
                                const v1::GenerateRequest& request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  class Sink;

  GenerateReactor(const Serving& serving, grpc::CallbackServerContext* context,
                  const v1::GenerateRequest& request);
  absl::Status Submit(const grpc::CallbackServerContext& context,
                      const v1::GenerateRequest& request);

  // What to do next, decided under the lock and done outside it: once Finish
  // is called, this object may be gone.
  enum class Action { kNone, kWrite, kFinish };

  // Applies `push` to the queue, which is written from if no write is under way.
  void Push(const std::function<void(ResponseQueue*)>& push);
  // The engine is done with this request.
  void End(absl::Status status);
  Action NextAction() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Nothing of this object may be touched by the caller afterwards.
  void Do(Action action);
  // The same on the WriteThread. Tokens that come until then go into the same message.
  void DoSoon(Action action);

  const Serving& serving_;
  Call call_;
  EventTranslation translation_;  // used on the engine's step thread only
  std::optional<RequestId> id_;   // set before gRPC hears of this reactor

  absl::Mutex mu_;
  ResponseQueue queue_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;                 // a write failed: the reader is gone
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mu_);  // the engine's last word
  v1::GenerateResponse current_ ABSL_GUARDED_BY(mu_);        // being written while writing_
};

}  // namespace strata::server

#endif  // STRATA_SERVER_GENERATE_REACTOR_H_
