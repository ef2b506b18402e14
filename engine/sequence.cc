#include "engine/sequence.h"

#include <algorithm>
#include <utility>

namespace strata {

Sequence::Sequence(std::shared_ptr<RequestState> request, int sample_index,
                   const Tokenizer* tokenizer, int max_tokens, uint64_t rng_key)
    : request_(std::move(request)),
      sample_index_(sample_index),
      tokenizer_(tokenizer),
      max_tokens_(max_tokens),
      tokens_(request_->prompt),
      sampler_(request_->params.sampling, sample_index, request_->prompt),
      rng_(rng_key),
      text_(tokenizer, request_->params.output.echo, request_->params.stopping.stop_sequences,
            request_->params.stopping.include_stop_text) {
  if (request_->params.output.echo) CommitEcho();
}

// The prompt's tokens open the first delta.
void Sequence::CommitEcho() {
  delta_.token_ids = request_->prompt;
  for (const TokenId id : request_->prompt) text_.AppendUnsearched(id, &delta_.text);
}

int Sequence::num_tokens_left() const {
  const int by_request = request_->params.stopping.max_new_tokens - num_generated();
  return std::min(by_request, max_tokens_ - static_cast<int>(tokens_.size()));
}

int Sequence::num_pending() const {
  // Where nothing is generated (scoring), nobody needs the last token's KV.
  const int wanted = request_->params.stopping.max_new_tokens == 0
                         ? static_cast<int>(tokens_.size()) - 1
                         : static_cast<int>(tokens_.size());
  return wanted - num_computed();
}

int Sequence::MostBlocksMissing() const {
  return kv_.NumBlocksMissing(static_cast<int>(tokens_.size()) + std::max(0, num_tokens_left()));
}

int Sequence::MostAdoptable() const {
  const int most = num_computed() + num_pending() - 1;
  // Log-probabilities of the prompt that are still to be reported need the rows before them.
  const bool reports =
      request_->params.output.prompt_logprobs && next_prompt_logprob < num_prompt_tokens();
  return reports ? std::min(most, next_prompt_logprob - 1) : most;
}

int Sequence::AdoptPrefix(KvPool& pool) {
  // Once for all that it may become: no allocation in the rounds that follow.
  if (kv_.blocks().empty()) {
    kv_.Reserve(static_cast<int>(tokens_.size()) + std::max(0, num_tokens_left()));
  }
  return kv_.Adopt(tokens_, MostAdoptable(), pool);
}

bool Sequence::IsStop(TokenId id) const {
  const StoppingCriteria& stopping = request_->params.stopping;
  const auto contains = [id](const std::vector<TokenId>& ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  return (!stopping.ignore_eos && contains(request_->eos_token_ids)) ||
         contains(stopping.stop_token_ids);
}

void Sequence::Commit(TokenId id, bool drafted, std::optional<TokenLogprobs> logprobs) {
  // Once, for as many as there can be: not with the queue's requests, which may never come to it.
  if (num_generated() == 0) tokens_.reserve(tokens_.size() + num_tokens_left());
  tokens_.push_back(id);
  sampler_.Push(id);
  delta_.token_ids.push_back(id);
  if (drafted) {
    ++delta_.num_accepted_drafts;
    ++stats.accepted_tokens;
  }
  ++stats.emitted_tokens;
  if (logprobs) delta_.logprobs.push_back(std::move(*logprobs));
  CheckFinished(id);
}

void Sequence::CheckFinished(TokenId id) {
  const StoppingCriteria& stopping = request_->params.stopping;
  if (const std::string* stop = text_.Append(id, &delta_.text)) {
    matched_stop_ = *stop;
    finish_reason_ = FinishReason::kStopSequence;
  } else if (IsStop(id)) {
    const auto& stops = stopping.stop_token_ids;
    const bool asked_for = std::find(stops.begin(), stops.end(), id) != stops.end();
    Finish(asked_for ? FinishReason::kStopToken : FinishReason::kEos);
  } else if (num_generated() >= stopping.max_new_tokens) {
    Finish(FinishReason::kMaxTokens);
  } else if (num_tokens_left() <= 0) {
    Finish(FinishReason::kContextFull);
  }
}

void Sequence::Finish(FinishReason reason) {
  finish_reason_ = reason;
  // A stop sequence may be completed by the bytes that end the text.
  const std::string* stop = text_.Finish(&delta_.text);
  if (stop == nullptr) return;
  matched_stop_ = *stop;
  finish_reason_ = FinishReason::kStopSequence;
}

void Sequence::ClearDelta() {
  delta_.token_ids.clear();
  delta_.num_accepted_drafts = 0;
  delta_.text.clear();
  delta_.logprobs.clear();
}

FinishedEvent Sequence::MakeFinishedEvent(Instant now) const {
  FinishedEvent event;
  event.reason = *finish_reason_;
  event.matched_stop = matched_stop_;
  event.prompt_tokens = num_prompt_tokens();
  event.generated_tokens = num_generated();
  event.speculation = stats;
  const Instant scheduled = started ? first_scheduled : now;
  const Instant first = first_token.value_or(now);
  event.timing.queued = scheduled - request_->submitted;
  event.timing.prefill = first - scheduled;
  event.timing.decode = first_token ? last_token - first : Duration::zero();
  return event;
}

std::string Sequence::DraftText(std::span<const TokenId> ids) const {
  Detokenizer detokenizer(tokenizer_, /*at_text_start=*/false);
  std::string text;
  for (const TokenId id : ids) detokenizer.Append(id, &text);
  detokenizer.Flush(&text);
  return text;
}

}  // namespace strata
