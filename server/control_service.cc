#include "server/control_service.h"

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

grpc::ServerUnaryReactor* ControlService::GetModelInfo(grpc::CallbackServerContext* context,
                                                       const v1::GetModelInfoRequest*,
                                                       v1::ModelInfo* response) {
  AddLicenseMetadata(serving_, context);
  *response = model_info_;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::GetLoad(grpc::CallbackServerContext* context,
                                                  const v1::GetLoadRequest*, v1::Load* response) {
  *response = ToProto(serving_.engine->GetLoad());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace strata::server
