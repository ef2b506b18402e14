#include "server/event_translation.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>

#include "engine/tokenizer/detokenizer.h"
#include "server/speculation_translation.h"

namespace strata::server {
namespace {

double Milliseconds(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return v1::FINISH_REASON_EOS;
    case FinishReason::kStopSequence:
      return v1::FINISH_REASON_STOP_SEQUENCE;
    case FinishReason::kStopToken:
      return v1::FINISH_REASON_STOP_TOKEN;
    case FinishReason::kMaxTokens:
      return v1::FINISH_REASON_MAX_TOKENS;
    case FinishReason::kContextFull:
      return v1::FINISH_REASON_CONTEXT_FULL;
    case FinishReason::kTimeLimit:
      return v1::FINISH_REASON_TIME_LIMIT;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::SpeculationStats ToProto(const SpeculationStats& stats) {
  v1::SpeculationStats proto;
  proto.set_rounds(stats.rounds);
  proto.set_drafted_tokens(stats.drafted_tokens);
  proto.set_accepted_tokens(stats.accepted_tokens);
  proto.set_emitted_tokens(stats.emitted_tokens);
  for (const int accepted : stats.accepted_per_position) {
    proto.add_accepted_per_position(accepted);
  }
  for (const auto& [exit_layer, rounds] : stats.rounds_per_exit_layer) {
    (*proto.mutable_rounds_per_exit_layer())[exit_layer] = rounds;
  }
  if (stats.drafted_tokens > 0) {
    proto.set_acceptance_rate(static_cast<double>(stats.accepted_tokens) / stats.drafted_tokens);
  }
  return proto;
}

v1::TokenRun MakeRun(size_t num_tokens, size_t text_bytes, bool drafted) {
  v1::TokenRun run;
  run.set_num_tokens(static_cast<uint32_t>(num_tokens));
  run.set_text_bytes(static_cast<uint32_t>(text_bytes));
  run.set_drafted(drafted);
  return run;
}

}  // namespace

void AppendRun(const v1::TokenRun& run, v1::Delta* delta) {
  if (run.num_tokens() == 0 && run.text_bytes() == 0) return;
  const int last = delta->runs_size() - 1;
  if (last < 0 || delta->runs(last).drafted() != run.drafted()) {
    *delta->add_runs() = run;
    return;
  }
  v1::TokenRun* same = delta->mutable_runs(last);
  same->set_num_tokens(same->num_tokens() + run.num_tokens());
  same->set_text_bytes(same->text_bytes() + run.text_bytes());
}

v1::Started EventTranslation::Started(const StartedEvent& event) const {
  v1::Started proto;
  proto.set_prompt_tokens(event.prompt_tokens);
  proto.set_cached_prompt_tokens(event.cached_prompt_tokens);
  if (event.seed) proto.set_seed(*event.seed);
  *proto.mutable_speculation() = server::ToProto(event.speculation);
  return proto;
}

v1::Delta EventTranslation::Delta(int sample_index, const strata::Delta& delta) {
  v1::Delta proto;
  for (const TokenId id : delta.token_ids) proto.add_token_ids(id);
  proto.set_text(delta.text);
  for (const TokenLogprobs& logprobs : delta.logprobs) *proto.add_logprobs() = Logprobs(logprobs);
  AddRuns(delta, &samples_[sample_index], &proto);
  return proto;
}

v1::Draft EventTranslation::Draft(const DraftEvent& event) const {
  v1::Draft proto;
  for (const TokenId id : event.token_ids) proto.add_token_ids(id);
  proto.set_text(event.text);
  proto.set_exit_layer(event.exit_layer);
  return proto;
}

v1::Delta EventTranslation::PromptLogprobs(const std::vector<TokenLogprobs>& logprobs) const {
  v1::Delta proto;
  for (const TokenLogprobs& token : logprobs) *proto.add_prompt_logprobs() = Logprobs(token);
  return proto;
}

v1::Finished EventTranslation::Finished(const FinishedEvent& event) const {
  v1::Finished proto;
  proto.set_reason(ToProto(event.reason));
  proto.set_matched_stop(event.matched_stop);
  proto.mutable_usage()->set_prompt_tokens(event.prompt_tokens);
  proto.mutable_usage()->set_generated_tokens(event.generated_tokens);
  proto.mutable_usage()->set_total_tokens(event.prompt_tokens + event.generated_tokens);
  *proto.mutable_speculation() = ToProto(event.speculation);
  proto.mutable_timing()->set_queued_ms(Milliseconds(event.timing.queued));
  proto.mutable_timing()->set_prefill_ms(Milliseconds(event.timing.prefill));
  proto.mutable_timing()->set_decode_ms(Milliseconds(event.timing.decode));
  return proto;
}

v1::TokenLogprobs EventTranslation::Logprobs(const TokenLogprobs& logprobs) const {
  v1::TokenLogprobs proto;
  proto.set_token_id(logprobs.token_id);
  proto.set_logprob(logprobs.logprob);
  proto.set_text(PieceText(logprobs.token_id));
  proto.set_is_greedy(logprobs.is_greedy);
  for (const TokenLogprob& token : logprobs.top) {
    v1::TokenLogprob* top = proto.add_top();
    top->set_token_id(token.token_id);
    top->set_logprob(token.logprob);
    top->set_text(PieceText(token.token_id));
  }
  return proto;
}

std::string EventTranslation::PieceText(TokenId id) const {
  return ReplaceInvalidUtf8(tokenizer_->Piece(id));
}

size_t EventTranslation::TokenBytes(const std::vector<TokenId>& ids, size_t first,
                                    size_t end) const {
  size_t bytes = 0;
  for (size_t i = first; i < end; ++i) bytes += tokenizer_->TokenBytes(ids[i]).size();
  return bytes;
}

// Which bytes of the text came with the drafted tokens is worked out from the
// tokens' lengths. Where characters were replaced it may be off by a few, and
// heals with the next delta: it is for display.
void EventTranslation::AddRuns(const strata::Delta& delta, SampleText* sample,
                               v1::Delta* proto) const {
  const size_t num_tokens = delta.token_ids.size();
  const size_t drafted = static_cast<size_t>(delta.num_accepted_drafts);
  const size_t drafted_end = sample->held_bytes + TokenBytes(delta.token_ids, 0, drafted);
  const size_t tokens_end = drafted_end + TokenBytes(delta.token_ids, drafted, num_tokens);

  size_t drafted_text = drafted == 0 ? 0 : std::min(drafted_end, delta.text.size());
  drafted_text = CompleteUtf8Prefix(std::string_view(delta.text).substr(0, drafted_text));
  AppendRun(MakeRun(drafted, drafted_text, /*drafted=*/true), proto);
  AppendRun(MakeRun(num_tokens - drafted, delta.text.size() - drafted_text, /*drafted=*/false),
            proto);

  // An echoed prompt is sent as it is: nothing of it is held back, and it may
  // be shorter than its tokens by the leading space.
  const bool is_echo = echo_ && !sample->any;
  sample->any = true;
  sample->held_bytes =
      is_echo || tokens_end <= delta.text.size() ? 0 : tokens_end - delta.text.size();
}

}  // namespace strata::server
