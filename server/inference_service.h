// strata.v1.Inference.

#ifndef STRATA_SERVER_INFERENCE_SERVICE_H_
#define STRATA_SERVER_INFERENCE_SERVICE_H_

#include "server/serving.h"
#include "strata/v1/inference.grpc.pb.h"

namespace strata::server {

class InferenceService final : public v1::Inference::CallbackService {
 public:
  // `serving` must outlive this.
  explicit InferenceService(const Serving* serving) : serving_(*serving) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* GenerateUnary(grpc::CallbackServerContext* context,
                                          const v1::GenerateRequest* request,
                                          v1::GenerateResult* response) override;
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context,
                                  const v1::ScoreRequest* request,
                                  v1::ScoreResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;

 private:
  const Serving& serving_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_INFERENCE_SERVICE_H_
