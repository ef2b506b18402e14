#include "server/response_queue.h"

#include <utility>

#include "server/event_translation.h"

namespace strata::server {
namespace {

bool IsFull(const v1::Delta& delta) {
  const int tokens = delta.token_ids_size() + delta.prompt_logprobs_size();
  return tokens >= ResponseQueue::kMaxDeltaTokens ||
         delta.text().size() >= static_cast<size_t>(ResponseQueue::kMaxDeltaBytes);
}

}  // namespace

void MergeDelta(v1::Delta more, v1::Delta* delta) {
  delta->mutable_token_ids()->MergeFrom(more.token_ids());
  delta->mutable_text()->append(more.text());
  delta->mutable_logprobs()->MergeFrom(more.logprobs());
  delta->mutable_prompt_logprobs()->MergeFrom(more.prompt_logprobs());
  for (const v1::TokenRun& run : more.runs()) AppendRun(run, delta);
}

v1::GenerateResponse* ResponseQueue::Append(int sample_index) {
  v1::GenerateResponse* response = &responses_.emplace_back();
  response->set_request_id(request_id_);
  response->set_sample_index(static_cast<uint32_t>(sample_index));
  last_[sample_index] = response;
  return response;
}

v1::Delta* ResponseQueue::OpenDelta(int sample_index) {
  const auto last = last_.find(sample_index);
  if (last == last_.end() || !last->second->has_delta()) return nullptr;
  v1::Delta* delta = last->second->mutable_delta();
  return IsFull(*delta) ? nullptr : delta;
}

void ResponseQueue::PushStarted(int sample_index, v1::Started started) {
  *Append(sample_index)->mutable_started() = std::move(started);
}

void ResponseQueue::PushDelta(int sample_index, v1::Delta delta) {
  if (v1::Delta* open = OpenDelta(sample_index)) {
    MergeDelta(std::move(delta), open);
  } else {
    *Append(sample_index)->mutable_delta() = std::move(delta);
  }
}

void ResponseQueue::PushDraft(int sample_index, v1::Draft draft) {
  if (last_.contains(sample_index)) return;
  *Append(sample_index)->mutable_draft() = std::move(draft);
}

void ResponseQueue::PushFinished(int sample_index, v1::Finished finished) {
  *Append(sample_index)->mutable_finished() = std::move(finished);
}

std::optional<v1::GenerateResponse> ResponseQueue::Pop() {
  if (responses_.empty()) return std::nullopt;
  const auto last = last_.find(static_cast<int>(responses_.front().sample_index()));
  if (last->second == &responses_.front()) last_.erase(last);
  v1::GenerateResponse response = std::move(responses_.front());
  responses_.pop_front();
  return response;
}

void ResponseQueue::Extend(v1::GenerateResponse* response) {
  while (!responses_.empty() && response->has_delta() && !IsFull(response->delta())) {
    const v1::GenerateResponse& next = responses_.front();
    if (!next.has_delta() || next.sample_index() != response->sample_index()) return;
    MergeDelta(std::move(*Pop()->mutable_delta()), response->mutable_delta());
  }
}

}  // namespace strata::server
