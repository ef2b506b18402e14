#include "server/unary_reactor.h"

#include <memory>
#include <utility>

#include "server/collecting_sink.h"

namespace strata::server {

UnaryReactor* UnaryReactor::Start(const Serving& serving, grpc::CallbackServerContext* context,
                                  std::string method, std::string request_id,
                                  const Prepare& prepare, Complete complete) {
  // Deleted by OnDone.
  auto* reactor = new UnaryReactor(serving, context, std::move(method), std::move(request_id),
                                   std::move(complete));
  reactor->Submit(*context, prepare);
  return reactor;
}

UnaryReactor::UnaryReactor(const Serving& serving, grpc::CallbackServerContext* context,
                           std::string method, std::string request_id, Complete complete)
    : serving_(serving),
      call_(serving, context, std::move(method), std::move(request_id)),
      complete_(std::move(complete)) {}

void UnaryReactor::Submit(const grpc::CallbackServerContext& context, const Prepare& prepare) {
  if (!call_.admission().ok()) return EndOne(call_.admission());
  absl::StatusOr<std::vector<GenerateRequest>> requests = prepare();
  if (!requests.ok()) return EndOne(requests.status());
  {
    absl::MutexLock lock(&mu_);
    results_.resize(requests->size());
  }
  for (size_t i = 0; i < requests->size(); ++i) {
    (*requests)[i].tenant = call_.tenant();
    (*requests)[i].deadline = DeadlineOf(context);
    call_.OnPrompt((*requests)[i]);
    SubmitOne(i, std::move((*requests)[i]));
  }
  call_.WhenRevoked([this] { CancelAll(); });
  EndOne(absl::OkStatus());
}

void UnaryReactor::SubmitOne(size_t index, GenerateRequest request) {
  {
    absl::MutexLock lock(&mu_);
    if (!status_.ok()) return;
    ++pending_;
  }
  auto done = [this, index](absl::Status status, v1::GenerateResult result) {
    {
      absl::MutexLock lock(&mu_);
      results_[index] = std::move(result);
    }
    EndOne(status);
  };
  auto sink = std::make_shared<CollectingSink>(&serving_.engine->tokenizer(), request.output.echo,
                                               &call_, std::move(done));
  const absl::StatusOr<RequestId> id = serving_.engine->Submit(std::move(request), std::move(sink));
  if (!id.ok()) return EndOne(id.status());  // pending_ still counts the submitting
  bool failed = false;
  {
    absl::MutexLock lock(&mu_);
    ids_.push_back(*id);
    failed = !status_.ok();
  }
  if (failed) serving_.engine->Cancel(*id);  // another failed before it could know this id
}

void UnaryReactor::EndOne(const absl::Status& status) {
  bool first_failure = false;
  {
    absl::MutexLock lock(&mu_);
    first_failure = status_.ok() && !status.ok();
    status_.Update(status);
  }
  // While this one still counts as pending, so that this object stays.
  if (first_failure) CancelAll();

  absl::Status final_status;
  std::vector<v1::GenerateResult> results;
  {
    absl::MutexLock lock(&mu_);
    if (--pending_ > 0) return;
    final_status = status_;
    results = std::move(results_);
  }
  if (final_status.ok()) complete_(call_, std::move(results));
  Finish(call_.End(final_status));
}

void UnaryReactor::CancelAll() {
  std::vector<RequestId> ids;
  {
    absl::MutexLock lock(&mu_);
    ids = ids_;
  }
  for (const RequestId id : ids) serving_.engine->Cancel(id);
}

void UnaryReactor::OnCancel() { CancelAll(); }

void UnaryReactor::OnDone() { delete this; }

}  // namespace strata::server
