#include "server/score_translation.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "engine/status_macros.h"
#include "server/request_translation.h"
#include "server/status_mapping.h"

namespace strata::server {
namespace {

constexpr int kMaxContinuations = 64;

bool StartsWith(const std::vector<TokenId>& ids, const std::vector<TokenId>& prefix) {
  return ids.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), ids.begin());
}

absl::StatusOr<std::vector<TokenId>> TranslateContext(const v1::ScoreRequest& proto,
                                                      const Tokenizer& tokenizer,
                                                      const RequestLimits& limits) {
  std::vector<TokenId> context;
  switch (proto.context_case()) {
    case v1::ScoreRequest::kText:
      // An empty text is a context where the tokenizer puts a BOS before it.
      if (!proto.text().empty()) RETURN_IF_ERROR(CheckText(proto.text(), "text", limits));
      context = tokenizer.Encode(proto.text(), /*add_special_tokens=*/true);
      if (context.empty()) return FieldError("text", "must not be empty");
      return context;
    case v1::ScoreRequest::kTokenIds:
      if (proto.token_ids().ids().empty()) return FieldError("token_ids.ids", "must not be empty");
      return TranslateTokenIds(proto.token_ids().ids(), "token_ids.ids", limits.vocab_size);
    case v1::ScoreRequest::CONTEXT_NOT_SET:
      break;
  }
  return FieldError("context", "required: set text or token_ids");
}

absl::StatusOr<ScoredPrompt> TranslateText(const v1::ScoreRequest& proto, int index,
                                           const std::vector<TokenId>& context,
                                           const Tokenizer& tokenizer,
                                           const RequestLimits& limits) {
  const std::string& text = proto.continuations(index);
  RETURN_IF_ERROR(CheckText(text, fmt::format("continuations[{}]", index), limits));
  if (proto.has_text()) {
    const std::vector<TokenId> whole =
        tokenizer.Encode(proto.text() + text, /*add_special_tokens=*/true);
    if (whole.size() > context.size() && StartsWith(whole, context)) {
      return ScoredPrompt{context,
                          {whole.begin() + static_cast<ptrdiff_t>(context.size()), whole.end()}};
    }
  }
  return ScoredPrompt{context, EncodeContinuation(tokenizer, text)};
}

absl::Status CheckCounts(const v1::ScoreRequest& proto) {
  const int num_ids = proto.continuation_ids_size();
  const int num_texts = proto.continuations_size();
  if ((num_ids > 0) == (num_texts > 0)) {
    return FieldError("continuations",
                      "exactly one of continuations and continuation_ids is "
                      "required");
  }
  if (std::max(num_ids, num_texts) > kMaxContinuations) {
    return FieldError(num_ids > 0 ? "continuation_ids" : "continuations",
                      fmt::format("{} entries; at most {} are allowed",
                                  std::max(num_ids, num_texts), kMaxContinuations));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<TokenId> EncodeContinuation(const Tokenizer& tokenizer, const std::string& text) {
  // Behind a line break the text is no beginning. If the break stays a token
  // of its own, the rest is the answer.
  const std::vector<TokenId> line_break = tokenizer.Encode("\n", /*add_special_tokens=*/false);
  const std::vector<TokenId> whole = tokenizer.Encode("\n" + text, /*add_special_tokens=*/false);
  if (StartsWith(whole, line_break)) {
    return {whole.begin() + static_cast<ptrdiff_t>(line_break.size()), whole.end()};
  }
  return tokenizer.Encode(text, /*add_special_tokens=*/false);
}

absl::StatusOr<std::vector<ScoredPrompt>> TranslateScoreRequest(const v1::ScoreRequest& proto,
                                                                const Tokenizer& tokenizer,
                                                                const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckCounts(proto));
  ASSIGN_OR_RETURN(const std::vector<TokenId> context, TranslateContext(proto, tokenizer, limits));
  std::vector<ScoredPrompt> prompts;
  for (int i = 0; i < proto.continuations_size(); ++i) {
    ASSIGN_OR_RETURN(ScoredPrompt prompt, TranslateText(proto, i, context, tokenizer, limits));
    prompts.push_back(std::move(prompt));
  }
  for (int i = 0; i < proto.continuation_ids_size(); ++i) {
    const std::string path = fmt::format("continuation_ids[{}].ids", i);
    const auto& ids = proto.continuation_ids(i).ids();
    if (ids.empty()) return FieldError(path, "must not be empty");
    ASSIGN_OR_RETURN(std::vector<TokenId> continuation,
                     TranslateTokenIds(ids, path, limits.vocab_size));
    prompts.push_back({context, std::move(continuation)});
  }
  const char* list = proto.continuations_size() > 0 ? "continuations" : "continuation_ids";
  for (size_t i = 0; i < prompts.size(); ++i) {
    const size_t tokens = prompts[i].context.size() + prompts[i].continuation.size();
    if (tokens > static_cast<size_t>(limits.max_context)) {
      return FieldError(
          fmt::format("{}[{}]", list, i),
          fmt::format("{} tokens with the context's do not fit {}", tokens, limits.max_context));
    }
  }
  return prompts;
}

GenerateRequest MakeScoreRequest(const ScoredPrompt& prompt) {
  GenerateRequest request;
  std::vector<TokenId> ids = prompt.context;
  ids.insert(ids.end(), prompt.continuation.begin(), prompt.continuation.end());
  request.prompt = std::move(ids);
  request.sampling.temperature = 0;
  request.stopping.max_new_tokens = 0;
  request.output.logprobs = 0;
  request.output.prompt_logprobs = true;
  return request;
}

v1::Score MakeScore(const ScoredPrompt& prompt, const v1::GenerateResult& result) {
  v1::Score score;
  const auto& logprobs = result.samples(0).prompt_logprobs();
  const int num_tokens = static_cast<int>(prompt.continuation.size());
  double total = 0;
  for (int i = logprobs.size() - num_tokens; i < logprobs.size(); ++i) {
    score.add_logprobs(logprobs[i].logprob());
    score.add_is_greedy(logprobs[i].is_greedy());
    score.add_token_ids(logprobs[i].token_id());
    total += logprobs[i].logprob();
  }
  score.set_total(total);
  return score;
}

}  // namespace strata::server
