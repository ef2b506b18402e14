#include "server/model_info.h"

#include "server/license_gate.h"
#include "server/version.h"

namespace strata::server {

v1::RequestDefaults ToProto(const RequestDefaults& defaults) {
  v1::RequestDefaults proto;
  v1::SamplingParams* sampling = proto.mutable_sampling();
  sampling->set_temperature(defaults.sampling.temperature);
  sampling->set_top_p(defaults.sampling.top_p);
  sampling->set_top_k(defaults.sampling.top_k);
  sampling->set_min_p(defaults.sampling.min_p);
  sampling->set_repetition_penalty(defaults.sampling.repetition_penalty);
  sampling->set_presence_penalty(defaults.sampling.presence_penalty);
  sampling->set_frequency_penalty(defaults.sampling.frequency_penalty);
  sampling->set_num_samples(defaults.sampling.num_samples);
  proto.mutable_stopping()->set_max_new_tokens(defaults.max_new_tokens);
  proto.mutable_fixed()->set_exit_layer(defaults.exit_layer);
  proto.mutable_fixed()->set_num_draft_tokens(defaults.num_draft_tokens);
  switch (defaults.speculation) {
    case Speculation::Mode::kOff:
      proto.mutable_speculation()->mutable_off();
      break;
    case Speculation::Mode::kFixed:
      *proto.mutable_speculation()->mutable_fixed() = proto.fixed();
      break;
    case Speculation::Mode::kAuto:
      proto.mutable_speculation()->mutable_auto_();
      break;
  }
  return proto;
}

v1::ModelInfo MakeModelInfo(const Serving& serving, kernels::WeightFormat weights) {
  const Checkpoint& checkpoint = serving.engine->checkpoint();
  const ModelConfig& config = checkpoint.config();
  v1::ModelInfo info;
  info.set_name(config.name);
  info.set_num_layers(config.num_layers);
  info.set_vocab_size(config.vocab_size);
  info.set_hidden_size(config.hidden_size);
  info.set_num_parameters(checkpoint.num_parameters());
  info.set_max_context(serving.engine->max_context());
  info.set_dtype(kernels::NameOf(weights));
  info.set_backend(serving.engine->backend_description());
  info.set_num_ranks(serving.engine->num_ranks());
  info.set_min_exit_layer(1);
  info.set_max_exit_layer(config.num_layers - 1);
  for (const int32_t id : config.eos_token_ids) info.add_eos_token_ids(id);
  if (const auto bos = serving.engine->tokenizer().bos_token_id()) info.set_bos_token_id(*bos);
  if (!checkpoint.license().id.empty()) {
    info.mutable_license()->set_id(checkpoint.license().id);
    info.mutable_license()->set_text(checkpoint.license().text);
    info.mutable_license()->set_citation(Citation(checkpoint.license(), config.name));
  }
  *info.mutable_defaults() = ToProto(serving.defaults);
  info.set_server_version(kVersion);
  return info;
}

}  // namespace strata::server
