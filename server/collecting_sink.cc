#include "server/collecting_sink.h"

#include <utility>

namespace strata::server {

CollectingSink::CollectingSink(const Tokenizer* tokenizer, bool echo, Call* call, Done done)
    : translation_(tokenizer, echo), call_(call), done_(std::move(done)) {}

v1::SampleResult* CollectingSink::Sample(int sample_index) {
  while (result_.samples_size() <= sample_index) {
    const int index = result_.samples_size();
    result_.add_samples()->set_sample_index(static_cast<uint32_t>(index));
  }
  return result_.mutable_samples(sample_index);
}

void CollectingSink::OnStarted(int sample_index, const StartedEvent& event) {
  call_->OnStarted(event);
  *Sample(sample_index)->mutable_started() = translation_.Started(event);
}

void CollectingSink::OnDelta(int sample_index, const Delta& delta) {
  call_->OnDelta(sample_index, delta);
  const v1::Delta proto = translation_.Delta(sample_index, delta);
  v1::SampleResult* sample = Sample(sample_index);
  sample->mutable_token_ids()->MergeFrom(proto.token_ids());
  sample->mutable_text()->append(proto.text());
  sample->mutable_logprobs()->MergeFrom(proto.logprobs());
}

void CollectingSink::OnPromptLogprobs(int sample_index, std::vector<TokenLogprobs> logprobs) {
  Sample(sample_index)
      ->mutable_prompt_logprobs()
      ->MergeFrom(translation_.PromptLogprobs(logprobs).prompt_logprobs());
}

void CollectingSink::OnFinished(int sample_index, FinishedEvent event) {
  call_->OnFinished(event);
  *Sample(sample_index)->mutable_finished() = translation_.Finished(event);
}

void CollectingSink::OnDone(absl::Status status) { done_(std::move(status), std::move(result_)); }

}  // namespace strata::server
