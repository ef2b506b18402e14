#include "server/control_service.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>

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

v1::Round ToProto(const RoundRecord& record) {
  v1::Round proto;
  proto.set_number(record.number);
  proto.set_start_ns(record.start_ns);
  proto.set_plan_ns(record.plan_ns);
  proto.set_draft_ns(record.draft_ns);
  proto.set_sweep_ns(record.sweep_ns);
  proto.set_verify_ns(record.verify_ns);
  proto.set_probe_ns(record.probe_ns);
  proto.set_deliver_ns(record.deliver_ns);
  proto.set_draft_micro_steps(record.draft_micro_steps);
  proto.set_prefill_rows(record.prefill_rows);
  proto.set_decode_rows(record.decode_rows);
  proto.set_cached_tokens(record.cached_tokens);
  proto.set_drafted_tokens(record.drafted_tokens);
  proto.set_accepted_tokens(record.accepted_tokens);
  proto.set_emitted_tokens(record.emitted_tokens);
  proto.set_preemptions(record.preemptions);
  proto.set_num_sequences(record.num_sequences);
  const size_t count = std::min<size_t>(record.num_sequences, RoundRecord::kMaxSequences);
  for (const RoundRecord::Sequence& sequence : std::span(record.sequences).first(count)) {
    v1::SequenceInRound* added = proto.add_sequences();
    added->set_engine_request(sequence.request);
    added->set_sample_index(sequence.sample_index);
    added->set_num_rows(sequence.num_rows);
    added->set_drafted_tokens(sequence.num_drafts);
    added->set_accepted_tokens(sequence.num_accepted);
    added->set_emitted_tokens(sequence.num_committed);
  }
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

grpc::ServerUnaryReactor* ControlService::GetTrace(grpc::CallbackServerContext* context,
                                                   const v1::GetTraceRequest* request,
                                                   v1::Trace* response) {
  const absl::Status status = Authenticate(*context, "GetTrace");
  if (status.ok()) {
    const Engine& engine = *serving_.engine;
    const size_t max_rounds = request->max_rounds() > 0 ? request->max_rounds() : SIZE_MAX;
    for (const RoundRecord& record : engine.GetTrace(max_rounds)) {
      *response->add_rounds() = ToProto(record);
    }
    const auto begin = std::chrono::system_clock::now() -
                       (std::chrono::steady_clock::now() - engine.trace_begin());
    response->set_begin_unix_us(
        std::chrono::duration_cast<std::chrono::microseconds>(begin.time_since_epoch()).count());
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace strata::server
