// strata.v1.Control.

#ifndef STRATA_SERVER_CONTROL_SERVICE_H_
#define STRATA_SERVER_CONTROL_SERVICE_H_

#include <string>
#include <utility>

#include "server/serving.h"
#include "strata/v1/control.grpc.pb.h"

namespace strata::server {

v1::Load ToProto(const EngineLoad& load);
v1::Round ToProto(const RoundRecord& record);

class ControlService final : public v1::Control::CallbackService {
 public:
  // `serving` must outlive this.
  ControlService(const Serving* serving, v1::ModelInfo model_info)
      : serving_(*serving), model_info_(std::move(model_info)) {}

  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::ModelInfo* response) override;
  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context,
                                    const v1::GetLoadRequest* request, v1::Load* response) override;
  grpc::ServerUnaryReactor* GetTrace(grpc::CallbackServerContext* context,
                                     const v1::GetTraceRequest* request,
                                     v1::Trace* response) override;

 private:
  // Whether the call may be made. `method`: its short name.
  absl::Status Authenticate(const grpc::ServerContextBase& context,
                            const std::string& method) const;

  const Serving& serving_;
  const v1::ModelInfo model_info_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_CONTROL_SERVICE_H_
