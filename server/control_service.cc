#include "server/control_service.h"

#include "server/status_mapping.h"

namespace strata::server {

v1::Load ToProto(const EngineLoad& load) {
  v1::Load proto;
  proto.set_running_requests(load.running_requests);
  proto.set_queued_requests(load.queued_requests);
  proto.set_kv_blocks_total(load.kv_blocks_total);
  proto.set_kv_blocks_used(load.kv_blocks_used);
  proto.set_kv_blocks_cached(load.kv_blocks_cached);
  proto.set_exit_cache_rows_used(load.exit_cache_rows_used);
  proto.set_tokens_per_second(load.tokens_per_second);
  proto.set_acceptance_rate(load.acceptance_rate);
  return proto;
}

absl::Status ControlService::Authenticate(const grpc::ServerContextBase& context,
                                          const std::string& method) const {
  const std::string name = std::string(v1::Control::service_full_name()) + "/" + method;
  return serving_.access->authenticator().Authenticate(context, name).status();
}

grpc::ServerUnaryReactor* ControlService::GetModelInfo(grpc::CallbackServerContext* context,
                                                       const v1::GetModelInfoRequest*,
                                                       v1::ModelInfo* response) {
  AddLicenseMetadata(serving_, context);
  const absl::Status status = Authenticate(*context, "GetModelInfo");
  if (status.ok()) *response = model_info_;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::GetLoad(grpc::CallbackServerContext* context,
                                                  const v1::GetLoadRequest*, v1::Load* response) {
  const absl::Status status = Authenticate(*context, "GetLoad");
  if (status.ok()) *response = ToProto(serving_.engine->GetLoad());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace strata::server
