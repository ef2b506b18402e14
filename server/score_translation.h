// Score as requests to the engine: one per continuation, which generates
// nothing and reports the log-probabilities of its prompt.

#ifndef STRATA_SERVER_SCORE_TRANSLATION_H_
#define STRATA_SERVER_SCORE_TRANSLATION_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/request_defaults.h"
#include "strata/v1/inference.pb.h"

namespace strata::server {

// One continuation with what comes before it.
struct ScoredPrompt {
  std::vector<TokenId> context;
  std::vector<TokenId> continuation;
};

// Errors are INVALID_ARGUMENT and begin with the field's path.
absl::StatusOr<std::vector<ScoredPrompt>> TranslateScoreRequest(const v1::ScoreRequest& proto,
                                                                const Tokenizer& tokenizer,
                                                                const RequestLimits& limits);

GenerateRequest MakeScoreRequest(const ScoredPrompt& prompt);

// From the result of MakeScoreRequest(prompt).
v1::Score MakeScore(const ScoredPrompt& prompt, const v1::GenerateResult& result);

// Ids of `text` in the middle of a text: without special tokens, and without
// the leading space that sentencepiece gives to the beginning of one.
std::vector<TokenId> EncodeContinuation(const Tokenizer& tokenizer, const std::string& text);

}  // namespace strata::server

#endif  // STRATA_SERVER_SCORE_TRANSLATION_H_
