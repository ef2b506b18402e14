#include "server/unary_reactor.h"

#include <memory>
#include <utility>

#include "server/collecting_sink.h"
#include "server/tenancy.h"

namespace strata::server {

UnaryReactor* UnaryReactor::Start(const Serving& serving, grpc::CallbackServerContext* context,
                                  std::string method, const Prepare& prepare, Complete complete) {
  AddLicenseMetadata(serving, context);
  // Deleted by OnDone.
  auto* reactor = new UnaryReactor(serving, std::move(method), std::move(complete));
  reactor->Submit(*context, prepare);
  return reactor;
}

UnaryReactor::UnaryReactor(const Serving& serving, std::string method, Complete complete)
    : serving_(serving), call_(serving.calls, std::move(method)), complete_(std::move(complete)) {}

void UnaryReactor::Submit(const grpc::CallbackServerContext& context, const Prepare& prepare) {
  if (!call_.admission().ok()) return EndOne(call_.admission());
  absl::StatusOr<std::vector<GenerateRequest>> requests = prepare();
  if (!requests.ok()) return EndOne(requests.status());
  const absl::StatusOr<Tenant> tenant = TenantOf(context, serving_.tenancy);
  if (!tenant.ok()) return EndOne(tenant.status());
  {
    absl::MutexLock lock(&mu_);
    results_.resize(requests->size());
  }
  for (size_t i = 0; i < requests->size(); ++i) {
    (*requests)[i].tenant = *tenant;
    (*requests)[i].deadline = DeadlineOf(context);
    SubmitOne(i, std::move((*requests)[i]));
  }
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
                                               std::move(done));
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
  if (final_status.ok()) complete_(std::move(results));
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
