#include "client/cli/request_flags.h"

#include "client/status_macros.h"

namespace strata::client {
namespace {

v1::SamplingParams MakeSampling(const RequestFlags& flags) {
  v1::SamplingParams sampling;
  if (flags.temperature) sampling.set_temperature(*flags.temperature);
  if (flags.top_p) sampling.set_top_p(*flags.top_p);
  if (flags.top_k) sampling.set_top_k(*flags.top_k);
  if (flags.min_p) sampling.set_min_p(*flags.min_p);
  if (flags.seed) sampling.set_seed(*flags.seed);
  if (flags.repetition_penalty) sampling.set_repetition_penalty(*flags.repetition_penalty);
  if (flags.presence_penalty) sampling.set_presence_penalty(*flags.presence_penalty);
  if (flags.frequency_penalty) sampling.set_frequency_penalty(*flags.frequency_penalty);
  if (flags.num_samples) sampling.set_num_samples(*flags.num_samples);
  return sampling;
}

v1::StoppingCriteria MakeStopping(const RequestFlags& flags) {
  v1::StoppingCriteria stopping;
  if (flags.max_new_tokens) stopping.set_max_new_tokens(*flags.max_new_tokens);
  for (const std::string& sequence : flags.stop_sequences) stopping.add_stop_sequences(sequence);
  if (flags.time_limit_ms) stopping.set_time_limit_ms(*flags.time_limit_ms);
  if (flags.ignore_eos) stopping.set_ignore_eos(true);
  if (flags.include_stop_text) stopping.set_include_stop_text(true);
  return stopping;
}

absl::StatusOr<v1::Speculation> MakeSpeculation(const RequestFlags& flags) {
  v1::Speculation speculation;
  const bool has_fixed = flags.exit_layer || flags.num_draft_tokens;
  if (flags.speculation == "off") {
    if (has_fixed) {
      return absl::InvalidArgumentError(
          "--exit-layer and --num-draft-tokens mean nothing with --speculation off");
    }
    speculation.mutable_off();
  } else if (flags.speculation == "auto") {
    v1::Auto* automatic = speculation.mutable_auto_();
    if (flags.exit_layer) automatic->add_exit_layers(*flags.exit_layer);
    if (flags.num_draft_tokens) automatic->set_max_draft_tokens(*flags.num_draft_tokens);
  } else if (flags.speculation == "fixed" || has_fixed) {
    v1::Fixed* fixed = speculation.mutable_fixed();
    if (flags.exit_layer) fixed->set_exit_layer(*flags.exit_layer);
    if (flags.num_draft_tokens) fixed->set_num_draft_tokens(*flags.num_draft_tokens);
  }
  return speculation;
}

}  // namespace

void AddSamplingFlags(CLI::App* command, RequestFlags* flags) {
  command->add_option("--temperature", flags->temperature, "0: greedy");
  command->add_option("--top-p", flags->top_p, "Keep the likeliest tokens of this probability");
  command->add_option("--top-k", flags->top_k, "Keep this many of the likeliest tokens; 0: off");
  command->add_option("--min-p", flags->min_p,
                      "Keep tokens of this share of the largest probability");
  command->add_option("--seed", flags->seed, "Makes sampling reproducible");
  command->add_option("--repetition-penalty", flags->repetition_penalty, "1: off");
  command->add_option("--presence-penalty", flags->presence_penalty, "0: off");
  command->add_option("--frequency-penalty", flags->frequency_penalty, "0: off");
  command->add_option("-n,--max-new-tokens", flags->max_new_tokens, "Tokens to generate at most");
  command->add_option("--stop", flags->stop_sequences, "Text that ends the answer; repeatable")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--time-limit-ms", flags->time_limit_ms, "Ends the answer after this time");
  command->add_flag("--ignore-eos", flags->ignore_eos, "Generate past end-of-sequence tokens");
  command->add_flag("--include-stop-text", flags->include_stop_text,
                    "End the text with the stop sequence found");
}

void AddSpeculationFlags(CLI::App* command, RequestFlags* flags) {
  command->add_option("--speculation", flags->speculation, "How to draft: off, fixed or auto")
      ->check(CLI::IsMember({"off", "fixed", "auto"}));
  command->add_option("--exit-layer", flags->exit_layer, "Layers that draft");
  command->add_option("--num-draft-tokens", flags->num_draft_tokens, "Tokens drafted per round");
}

void AddOutputFlags(CLI::App* command, RequestFlags* flags) {
  command->add_option("--num-samples", flags->num_samples, "Independent answers");
  command->add_option("--logprobs", flags->logprobs,
                      "Log-probabilities of this many of the likeliest tokens (with --json)");
  command->add_flag("--echo", flags->echo, "Show the prompt too");
  command->add_flag("--show-drafts", flags->show_drafts,
                    "Show rejected drafts too, struck out (in colour or with --json)");
}

absl::StatusOr<v1::GenerateRequest> MakeRequest(const RequestFlags& flags) {
  v1::GenerateRequest request;
  *request.mutable_sampling() = MakeSampling(flags);
  *request.mutable_stopping() = MakeStopping(flags);
  ASSIGN_OR_RETURN(*request.mutable_speculation(), MakeSpeculation(flags));
  if (flags.logprobs) request.mutable_output()->set_logprobs(*flags.logprobs);
  if (flags.echo) request.mutable_output()->set_echo(true);
  if (flags.show_drafts) request.mutable_output()->set_stream_drafts(true);
  return request;
}

}  // namespace strata::client
