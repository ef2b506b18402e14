#include "server/generate_reactor.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/status_macros.h"
#include "server/request_translation.h"

namespace strata::server {

class GenerateReactor::Sink final : public TokenSink {
 public:
  explicit Sink(GenerateReactor* reactor) : reactor_(reactor) {}

  void OnStarted(int sample_index, const StartedEvent& event) override {
    reactor_->call_.OnStarted(event);
    v1::Started started = reactor_->translation_.Started(event);
    reactor_->Push([&](ResponseQueue* q) { q->PushStarted(sample_index, std::move(started)); });
  }

  void OnDelta(int sample_index, const Delta& delta) override {
    reactor_->call_.OnDelta(sample_index, delta);
    v1::Delta proto = reactor_->translation_.Delta(sample_index, delta);
    reactor_->Push([&](ResponseQueue* q) { q->PushDelta(sample_index, std::move(proto)); });
  }

  void OnDraft(int sample_index, DraftEvent event) override {
    v1::Draft draft = reactor_->translation_.Draft(event);
    reactor_->Push([&](ResponseQueue* q) { q->PushDraft(sample_index, std::move(draft)); });
  }

  void OnPromptLogprobs(int sample_index, std::vector<TokenLogprobs> logprobs) override {
    // In parts: a whole context of them may be more than a reader takes in one message.
    for (size_t first = 0; first < logprobs.size(); first += ResponseQueue::kMaxDeltaTokens) {
      const size_t end = std::min<size_t>(first + ResponseQueue::kMaxDeltaTokens, logprobs.size());
      v1::Delta delta =
          reactor_->translation_.PromptLogprobs({logprobs.begin() + static_cast<ptrdiff_t>(first),
                                                 logprobs.begin() + static_cast<ptrdiff_t>(end)});
      reactor_->Push([&](ResponseQueue* q) { q->PushDelta(sample_index, std::move(delta)); });
    }
  }

  void OnFinished(int sample_index, FinishedEvent event) override {
    reactor_->call_.OnFinished(event);
    v1::Finished finished = reactor_->translation_.Finished(event);
    reactor_->Push([&](ResponseQueue* q) { q->PushFinished(sample_index, std::move(finished)); });
  }

  void OnDone(absl::Status status) override { reactor_->End(std::move(status)); }

 private:
  GenerateReactor* const reactor_;  // lives until OnDone
};

GenerateReactor* GenerateReactor::Start(const Serving& serving,
                                        grpc::CallbackServerContext* context,
                                        const v1::GenerateRequest& request) {
  auto* reactor = new GenerateReactor(serving, context, request);  // deleted by OnDone
  const absl::Status status = reactor->Submit(*context, request);
  if (!status.ok()) reactor->End(status);
  return reactor;
}

GenerateReactor::GenerateReactor(const Serving& serving, grpc::CallbackServerContext* context,
                                 const v1::GenerateRequest& request)
    : serving_(serving),
      call_(serving, context, "Generate", request.request_id()),
      translation_(&serving.engine->tokenizer(), request.output().echo()),
      queue_(call_.request_id()) {}

absl::Status GenerateReactor::Submit(const grpc::CallbackServerContext& context,
                                     const v1::GenerateRequest& request) {
  RETURN_IF_ERROR(call_.admission());
  ASSIGN_OR_RETURN(GenerateRequest translated,
                   TranslateGenerateRequest(request, serving_.defaults, serving_.limits));
  translated.tenant = call_.tenant();
  translated.deadline = DeadlineOf(context);
  call_.OnPrompt(translated);
  ASSIGN_OR_RETURN(id_,
                   serving_.engine->Submit(std::move(translated), std::make_shared<Sink>(this)));
  call_.WhenRevoked([this] { OnCancel(); });
  return absl::OkStatus();
}

void GenerateReactor::Push(const std::function<void(ResponseQueue*)>& push) {
  Action action = Action::kNone;
  {
    absl::MutexLock lock(&mu_);
    if (broken_) return;
    push(&queue_);
    action = NextAction();
  }
  DoSoon(action);
}

void GenerateReactor::End(absl::Status status) {
  Action action = Action::kNone;
  {
    absl::MutexLock lock(&mu_);
    status_ = std::move(status);
    // In the same critical section: as soon as status_ is seen, the end of a
    // write may finish the call and delete this.
    action = NextAction();
  }
  DoSoon(action);
}

GenerateReactor::Action GenerateReactor::NextAction() {
  if (writing_) return Action::kNone;
  std::optional<v1::GenerateResponse> next;
  if (!broken_) next = queue_.Pop();
  if (next) {
    current_ = *std::move(next);
    writing_ = true;
    return Action::kWrite;
  }
  return status_ ? Action::kFinish : Action::kNone;
}

void GenerateReactor::DoSoon(Action action) {
  if (action != Action::kNone) serving_.writes->Do([this, action] { Do(action); });
}

void GenerateReactor::Do(Action action) {
  if (action == Action::kNone) return;
  const v1::GenerateResponse* response = nullptr;
  absl::Status status;
  {
    absl::MutexLock lock(&mu_);
    if (action == Action::kWrite) queue_.Extend(&current_);
    if (action == Action::kFinish) status = *status_;
    response = &current_;
  }
  if (action == Action::kWrite) {
    StartWrite(response);  // current_ stays as it is until OnWriteDone
  } else {
    Finish(call_.End(status));
  }
}

void GenerateReactor::OnWriteDone(bool ok) {
  if (!ok && id_) serving_.engine->Cancel(*id_);
  Action action = Action::kNone;
  {
    absl::MutexLock lock(&mu_);
    writing_ = false;
    broken_ = broken_ || !ok;
    action = NextAction();
  }
  Do(action);
}

void GenerateReactor::OnCancel() {
  if (id_) serving_.engine->Cancel(*id_);
}

void GenerateReactor::OnDone() { delete this; }

}  // namespace strata::server
