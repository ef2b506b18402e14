#include "server/inference_service.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/status_macros.h"
#include "engine/tokenizer/detokenizer.h"
#include "server/generate_reactor.h"
#include "server/request_translation.h"
#include "server/score_translation.h"
#include "server/status_mapping.h"
#include "server/unary_reactor.h"

namespace strata::server {
namespace {

// A call that is answered at once.
grpc::ServerUnaryReactor* Answer(const Serving& serving, grpc::CallbackServerContext* context,
                                 const std::string& method,
                                 const std::function<absl::Status()>& work) {
  Call call(serving, context, method, /*request_id=*/"");
  const absl::Status status = call.admission().ok() ? work() : call.admission();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(call.End(status));
  return reactor;
}

absl::Status TokenizeText(const Serving& serving, const v1::TokenizeRequest& request,
                          v1::TokenizeResponse* response) {
  const Tokenizer& tokenizer = serving.engine->tokenizer();
  if (!IsValidUtf8(request.text())) return FieldError("text", "is not valid UTF-8");
  const bool add_special = !request.has_add_special_tokens() || request.add_special_tokens();
  for (const TokenId id : tokenizer.Encode(request.text(), add_special)) {
    response->add_token_ids(id);
    response->add_pieces(ReplaceInvalidUtf8(tokenizer.Piece(id)));
  }
  return absl::OkStatus();
}

absl::Status DetokenizeIds(const Serving& serving, const v1::DetokenizeRequest& request,
                           v1::DetokenizeResponse* response) {
  ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                   TranslateTokenIds(request.token_ids(), "token_ids", serving.limits.vocab_size));
  response->set_text(serving.engine->tokenizer().Decode(ids));
  return absl::OkStatus();
}

}  // namespace

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  return GenerateReactor::Start(serving_, context, *request);
}

grpc::ServerUnaryReactor* InferenceService::GenerateUnary(grpc::CallbackServerContext* context,
                                                          const v1::GenerateRequest* request,
                                                          v1::GenerateResult* response) {
  const auto prepare = [&]() -> absl::StatusOr<std::vector<GenerateRequest>> {
    ASSIGN_OR_RETURN(GenerateRequest translated,
                     TranslateGenerateRequest(*request, serving_.defaults, serving_.limits));
    translated.output.stream_drafts = false;  // there is nobody to show them to
    return std::vector<GenerateRequest>{std::move(translated)};
  };
  auto complete = [response](const Call& call, std::vector<v1::GenerateResult> results) {
    *response = std::move(results[0]);
    response->set_request_id(call.request_id());
  };
  return UnaryReactor::Start(serving_, context, "GenerateUnary", request->request_id(), prepare,
                             std::move(complete));
}

grpc::ServerUnaryReactor* InferenceService::Score(grpc::CallbackServerContext* context,
                                                  const v1::ScoreRequest* request,
                                                  v1::ScoreResponse* response) {
  auto prompts = std::make_shared<std::vector<ScoredPrompt>>();
  const auto prepare = [&]() -> absl::StatusOr<std::vector<GenerateRequest>> {
    ASSIGN_OR_RETURN(
        *prompts, TranslateScoreRequest(*request, serving_.engine->tokenizer(), serving_.limits));
    std::vector<GenerateRequest> requests;
    for (const ScoredPrompt& prompt : *prompts) requests.push_back(MakeScoreRequest(prompt));
    return requests;
  };
  auto complete = [response, prompts](const Call&, std::vector<v1::GenerateResult> results) {
    for (size_t i = 0; i < results.size(); ++i) {
      *response->add_scores() = MakeScore((*prompts)[i], results[i]);
    }
  };
  return UnaryReactor::Start(serving_, context, "Score", /*request_id=*/"", prepare,
                             std::move(complete));
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeResponse* response) {
  return Answer(serving_, context, "Tokenize",
                [&] { return TokenizeText(serving_, *request, response); });
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const v1::DetokenizeRequest* request,
                                                       v1::DetokenizeResponse* response) {
  return Answer(serving_, context, "Detokenize",
                [&] { return DetokenizeIds(serving_, *request, response); });
}

}  // namespace strata::server
