#include "server/request_translation.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "engine/request_validation.h"
#include "engine/status_macros.h"
#include "engine/tokenizer/detokenizer.h"
#include "server/speculation_translation.h"
#include "server/status_mapping.h"

namespace strata::server {
namespace {

constexpr size_t kMaxRequestIdLength = 128;

template <typename Value>  // float, not double, so that 1.1 reads 1.1
absl::Status OutOfRange(const std::string& path, Value value, const char* range) {
  return FieldError(path, fmt::format("{} is out of range {}", value, range));
}

// NaN compares false with everything, so it fails these as well.
bool InClosedRange(float value, float min, float max) { return value >= min && value <= max; }
bool InHalfOpenRange(float value, float above, float max) { return value > above && value <= max; }

absl::Status SetTruncation(const v1::SamplingParams& proto, const RequestLimits& limits,
                           SamplingParams* params) {
  if (proto.has_top_p()) params->top_p = proto.top_p();
  if (!InHalfOpenRange(params->top_p, 0, 1)) {
    return OutOfRange("sampling.top_p", params->top_p, "(0, 1]");
  }
  if (proto.has_top_k()) {
    // More than the vocabulary has is the whole vocabulary.
    params->top_k =
        static_cast<int>(std::min(proto.top_k(), static_cast<uint32_t>(limits.vocab_size)));
  }
  if (proto.has_min_p()) params->min_p = proto.min_p();
  if (!InClosedRange(params->min_p, 0, 1)) {
    return OutOfRange("sampling.min_p", params->min_p, "[0, 1]");
  }
  return absl::OkStatus();
}

absl::Status SetPenalties(const v1::SamplingParams& proto, SamplingParams* params) {
  if (proto.has_repetition_penalty()) params->repetition_penalty = proto.repetition_penalty();
  if (!InClosedRange(params->repetition_penalty, kMinRepetitionPenalty, kMaxRepetitionPenalty)) {
    return OutOfRange("sampling.repetition_penalty", params->repetition_penalty, "[0.01, 100]");
  }
  if (proto.has_presence_penalty()) params->presence_penalty = proto.presence_penalty();
  if (!InClosedRange(params->presence_penalty, -kMaxPenalty, kMaxPenalty)) {
    return OutOfRange("sampling.presence_penalty", params->presence_penalty, "[-2, 2]");
  }
  if (proto.has_frequency_penalty()) params->frequency_penalty = proto.frequency_penalty();
  if (!InClosedRange(params->frequency_penalty, -kMaxPenalty, kMaxPenalty)) {
    return OutOfRange("sampling.frequency_penalty", params->frequency_penalty, "[-2, 2]");
  }
  return absl::OkStatus();
}

absl::Status SetLogitBias(const v1::SamplingParams& proto, const RequestLimits& limits,
                          SamplingParams* params) {
  if (proto.logit_bias_size() > kMaxLogitBiasEntries) {
    return FieldError("sampling.logit_bias",
                      fmt::format("{} entries; at most {} are allowed", proto.logit_bias_size(),
                                  kMaxLogitBiasEntries));
  }
  // In order of token id: the wire has none, and sums should not depend on it.
  const std::map<uint32_t, float> sorted(proto.logit_bias().begin(), proto.logit_bias().end());
  for (const auto& [id, bias] : sorted) {
    const std::string path = fmt::format("sampling.logit_bias[{}]", id);
    if (id >= static_cast<uint32_t>(limits.vocab_size)) {
      return FieldError(path,
                        fmt::format("no such token id; the vocabulary has {}", limits.vocab_size));
    }
    if (!InClosedRange(bias, -kMaxLogitBias, kMaxLogitBias)) {
      return OutOfRange(path, bias, "[-1000, 1000]");
    }
    params->logit_bias.emplace_back(static_cast<TokenId>(id), bias);
  }
  return absl::OkStatus();
}

absl::StatusOr<SamplingParams> TranslateSampling(const v1::SamplingParams& proto,
                                                 const SamplingParams& defaults,
                                                 const RequestLimits& limits) {
  SamplingParams params = defaults;
  if (proto.has_temperature()) params.temperature = proto.temperature();
  if (params.temperature != 0 &&
      !InClosedRange(params.temperature, kMinTemperature, kMaxTemperature)) {
    return FieldError("sampling.temperature",
                      fmt::format("{} is neither 0 (greedy) nor in [{}, {}]", params.temperature,
                                  kMinTemperature, kMaxTemperature));
  }
  RETURN_IF_ERROR(SetTruncation(proto, limits, &params));
  if (proto.has_seed()) params.seed = proto.seed();
  RETURN_IF_ERROR(SetPenalties(proto, &params));
  RETURN_IF_ERROR(SetLogitBias(proto, limits, &params));
  if (proto.has_num_samples()) {
    if (proto.num_samples() < 1 || proto.num_samples() > uint32_t{kMaxSamples}) {
      return OutOfRange("sampling.num_samples", proto.num_samples(), "[1, 16]");
    }
    params.num_samples = static_cast<int>(proto.num_samples());
  }
  return params;
}

absl::Status SetStopSequences(const v1::StoppingCriteria& proto, StoppingCriteria* stopping) {
  if (proto.stop_sequences_size() > kMaxStopSequences) {
    return FieldError("stopping.stop_sequences",
                      fmt::format("{} entries; at most {} are allowed", proto.stop_sequences_size(),
                                  kMaxStopSequences));
  }
  std::set<std::string> seen;
  for (int i = 0; i < proto.stop_sequences_size(); ++i) {
    const std::string path = fmt::format("stopping.stop_sequences[{}]", i);
    const std::string& sequence = proto.stop_sequences(i);
    if (sequence.empty() || sequence.size() > size_t{kMaxStopSequenceBytes}) {
      return FieldError(
          path, fmt::format("{} bytes; must be 1 to {}", sequence.size(), kMaxStopSequenceBytes));
    }
    if (!IsValidUtf8(sequence)) return FieldError(path, "is not valid UTF-8");
    if (!seen.insert(sequence).second) return FieldError(path, "repeats an earlier one");
    stopping->stop_sequences.push_back(sequence);
  }
  return absl::OkStatus();
}

absl::Status SetStopTokenIds(const v1::StoppingCriteria& proto, const RequestLimits& limits,
                             StoppingCriteria* stopping) {
  constexpr char kPath[] = "stopping.stop_token_ids";
  if (proto.stop_token_ids_size() > kMaxStopTokenIds) {
    return FieldError(kPath, fmt::format("{} entries; at most {} are allowed",
                                         proto.stop_token_ids_size(), kMaxStopTokenIds));
  }
  ASSIGN_OR_RETURN(stopping->stop_token_ids,
                   TranslateTokenIds(proto.stop_token_ids(), kPath, limits.vocab_size));
  std::set<TokenId> seen;
  for (size_t i = 0; i < stopping->stop_token_ids.size(); ++i) {
    if (!seen.insert(stopping->stop_token_ids[i]).second) {
      return FieldError(fmt::format("{}[{}]", kPath, i), "repeats an earlier one");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<StoppingCriteria> TranslateStopping(const v1::StoppingCriteria& proto,
                                                   const RequestDefaults& defaults,
                                                   const OutputOptions& output,
                                                   const RequestLimits& limits) {
  StoppingCriteria stopping;
  stopping.max_new_tokens = defaults.max_new_tokens;
  if (proto.has_max_new_tokens()) {
    if (proto.max_new_tokens() == 0 && !output.prompt_logprobs) {
      return FieldError("stopping.max_new_tokens",
                        "0 is out of range: 1 or more, or 0 with output.prompt_logprobs");
    }
    // More than the context holds ends with CONTEXT_FULL all the same.
    stopping.max_new_tokens = static_cast<int>(
        std::min(proto.max_new_tokens(), static_cast<uint32_t>(limits.max_context)));
  }
  RETURN_IF_ERROR(SetStopSequences(proto, &stopping));
  RETURN_IF_ERROR(SetStopTokenIds(proto, limits, &stopping));
  stopping.ignore_eos = proto.ignore_eos();
  stopping.include_stop_text = proto.include_stop_text();
  if (proto.has_time_limit_ms()) {
    if (proto.time_limit_ms() < 1) {
      return FieldError("stopping.time_limit_ms", "0 is out of range: 1 or more");
    }
    stopping.time_limit = std::chrono::milliseconds(proto.time_limit_ms());
  }
  return stopping;
}

absl::StatusOr<OutputOptions> TranslateOutput(const v1::OutputOptions& proto) {
  OutputOptions output;
  if (proto.has_logprobs()) {
    if (proto.logprobs() > uint32_t{kMaxTopLogprobs}) {
      return OutOfRange("output.logprobs", proto.logprobs(), "[0, 20]");
    }
    output.logprobs = static_cast<int>(proto.logprobs());
  }
  output.prompt_logprobs = proto.prompt_logprobs();
  output.stream_drafts = proto.stream_drafts();
  output.echo = proto.echo();
  return output;
}

absl::StatusOr<std::variant<std::string, std::vector<TokenId>>> TranslatePrompt(
    const v1::GenerateRequest& proto, const RequestLimits& limits) {
  switch (proto.prompt_case()) {
    case v1::GenerateRequest::kText:
      RETURN_IF_ERROR(CheckText(proto.text(), "text", limits));
      return proto.text();
    case v1::GenerateRequest::kTokenIds: {
      const auto& ids = proto.token_ids().ids();
      if (ids.empty()) return FieldError("token_ids.ids", "must not be empty");
      if (ids.size() > limits.max_context) {
        return FieldError("token_ids.ids", fmt::format("{} tokens do not fit the context of {}",
                                                       ids.size(), limits.max_context));
      }
      return TranslateTokenIds(ids, "token_ids.ids", limits.vocab_size);
    }
    case v1::GenerateRequest::PROMPT_NOT_SET:
      break;
  }
  return FieldError("prompt", "required: set text or token_ids");
}

}  // namespace

absl::StatusOr<std::vector<TokenId>> TranslateTokenIds(
    const google::protobuf::RepeatedField<uint32_t>& ids, const std::string& path, int vocab_size) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] >= static_cast<uint32_t>(vocab_size)) {
      return FieldError(fmt::format("{}[{}]", path, i),
                        fmt::format("no token id {}; the vocabulary has {}", ids[i], vocab_size));
    }
  }
  return std::vector<TokenId>(ids.begin(), ids.end());
}

absl::Status CheckText(const std::string& text, const std::string& path,
                       const RequestLimits& limits) {
  if (text.empty()) return FieldError(path, "must not be empty");
  if (text.size() > limits.max_prompt_bytes) {
    return FieldError(path, fmt::format("{} bytes cannot fit the context of {} tokens", text.size(),
                                        limits.max_context));
  }
  if (!IsValidUtf8(text)) return FieldError(path, "is not valid UTF-8");
  return absl::OkStatus();
}

absl::Status CheckRequestId(const std::string& request_id) {
  if (request_id.size() > kMaxRequestIdLength) {
    return FieldError("request_id", fmt::format("{} characters; at most {} are allowed",
                                                request_id.size(), kMaxRequestIdLength));
  }
  const bool printable = std::all_of(request_id.begin(), request_id.end(),
                                     [](char c) { return c >= ' ' && c <= '~'; });
  if (!printable) return FieldError("request_id", "must be printable ASCII");
  return absl::OkStatus();
}

absl::StatusOr<GenerateRequest> TranslateGenerateRequest(const v1::GenerateRequest& proto,
                                                         const RequestDefaults& defaults,
                                                         const RequestLimits& limits) {
  GenerateRequest request;
  RETURN_IF_ERROR(CheckRequestId(proto.request_id()));
  ASSIGN_OR_RETURN(request.prompt, TranslatePrompt(proto, limits));
  ASSIGN_OR_RETURN(request.sampling,
                   TranslateSampling(proto.sampling(), defaults.sampling, limits));
  ASSIGN_OR_RETURN(request.output, TranslateOutput(proto.output()));
  ASSIGN_OR_RETURN(request.stopping,
                   TranslateStopping(proto.stopping(), defaults, request.output, limits));
  ASSIGN_OR_RETURN(request.speculation,
                   TranslateSpeculation(proto.speculation(), defaults, limits));
  return request;
}

}  // namespace strata::server
