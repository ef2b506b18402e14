#include "engine/request_validation.h"

#include <fmt/format.h>

#include <cmath>
#include <set>
#include <string_view>

#include "engine/status_macros.h"

namespace strata {
namespace {

template <typename T>
absl::Status InRange(std::string_view field, T value, T low, T high) {
  // Written so that NaN fails.
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: {} is out of range [{}, {}]", field, value, low, high));
}

absl::Status AtMost(std::string_view field, size_t count, size_t limit) {
  if (count <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: {} entries, at most {} are allowed", field, count, limit));
}

absl::Status IsToken(std::string_view field, TokenId id, const ModelConfig& config) {
  if (id >= 0 && id < config.vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}: unknown token id {}, the vocabulary has {}",
                                                field, static_cast<uint32_t>(id),
                                                config.vocab_size));
}

absl::Status ValidateSampling(const SamplingParams& sampling, const ModelConfig& config) {
  if (sampling.temperature != 0.0f) {
    const float t = sampling.temperature;
    if (!(t >= kMinTemperature && t <= kMaxTemperature)) {
      return absl::InvalidArgumentError(
          fmt::format("sampling.temperature: {} is neither 0 (greedy) nor in [{}, {}]", t,
                      kMinTemperature, kMaxTemperature));
    }
  }
  if (!(sampling.top_p > 0.0f && sampling.top_p <= 1.0f)) {
    return absl::InvalidArgumentError(
        fmt::format("sampling.top_p: {} is out of range (0, 1]", sampling.top_p));
  }
  if (sampling.top_k < 0) {
    return absl::InvalidArgumentError(
        fmt::format("sampling.top_k: {} is negative", sampling.top_k));
  }
  RETURN_IF_ERROR(InRange("sampling.min_p", sampling.min_p, 0.0f, 1.0f));
  RETURN_IF_ERROR(InRange("sampling.repetition_penalty", sampling.repetition_penalty,
                          kMinRepetitionPenalty, kMaxRepetitionPenalty));
  RETURN_IF_ERROR(
      InRange("sampling.presence_penalty", sampling.presence_penalty, -kMaxPenalty, kMaxPenalty));
  RETURN_IF_ERROR(
      InRange("sampling.frequency_penalty", sampling.frequency_penalty, -kMaxPenalty, kMaxPenalty));
  RETURN_IF_ERROR(AtMost("sampling.logit_bias", sampling.logit_bias.size(), kMaxLogitBiasEntries));
  for (const auto& [id, bias] : sampling.logit_bias) {
    RETURN_IF_ERROR(IsToken("sampling.logit_bias", id, config));
    RETURN_IF_ERROR(InRange("sampling.logit_bias", bias, -kMaxLogitBias, kMaxLogitBias));
  }
  return InRange("sampling.num_samples", sampling.num_samples, 1, kMaxSamples);
}

absl::Status ValidateStopping(const GenerateRequest& request, const ModelConfig& config) {
  const StoppingCriteria& stopping = request.stopping;
  if (stopping.max_new_tokens < 0 ||
      (stopping.max_new_tokens == 0 && !request.output.prompt_logprobs)) {
    return absl::InvalidArgumentError(
        fmt::format("stopping.max_new_tokens: {} is not positive", stopping.max_new_tokens));
  }
  RETURN_IF_ERROR(
      AtMost("stopping.stop_sequences", stopping.stop_sequences.size(), kMaxStopSequences));
  for (const std::string& stop : stopping.stop_sequences) {
    if (stop.empty() || stop.size() > kMaxStopSequenceBytes) {
      return absl::InvalidArgumentError(
          fmt::format("stopping.stop_sequences: a sequence of {} bytes, must be 1 to {}",
                      stop.size(), kMaxStopSequenceBytes));
    }
  }
  RETURN_IF_ERROR(
      AtMost("stopping.stop_token_ids", stopping.stop_token_ids.size(), kMaxStopTokenIds));
  for (const TokenId id : stopping.stop_token_ids) {
    RETURN_IF_ERROR(IsToken("stopping.stop_token_ids", id, config));
  }
  return absl::OkStatus();
}

absl::Status ValidateSpeculation(const Speculation& speculation, const ModelConfig& config) {
  if (speculation.mode == Speculation::Mode::kOff) return absl::OkStatus();
  RETURN_IF_ERROR(
      InRange("speculation.num_draft_tokens", speculation.num_draft_tokens, 0, kMaxDraftTokens));
  if (speculation.mode == Speculation::Mode::kFixed) {
    return InRange("speculation.exit_layer", speculation.exit_layer, 1, config.num_layers - 1);
  }
  for (const int exit_layer : speculation.exit_layers) {
    RETURN_IF_ERROR(InRange("speculation.exit_layers", exit_layer, 1, config.num_layers - 1));
  }
  return absl::OkStatus();
}

absl::Status ValidateTenant(const Tenant& tenant) {
  RETURN_IF_ERROR(InRange("tenant.weight", tenant.weight, kMinTenantWeight, kMaxTenantWeight));
  RETURN_IF_ERROR(InRange("tenant.priority", tenant.priority, kMinPriority, kMaxPriority));
  constexpr int64_t kMost = int64_t{1} << 40;
  RETURN_IF_ERROR(InRange<int64_t>("tenant.max_running", tenant.max_running, 0, kMost));
  RETURN_IF_ERROR(InRange<int64_t>("tenant.max_queued", tenant.max_queued, 0, kMost));
  return InRange("tenant.max_tokens_per_minute", tenant.max_tokens_per_minute, int64_t{0}, kMost);
}

}  // namespace

absl::Status ValidateRequest(const GenerateRequest& request, const ModelConfig& config) {
  RETURN_IF_ERROR(ValidateSampling(request.sampling, config));
  RETURN_IF_ERROR(ValidateStopping(request, config));
  RETURN_IF_ERROR(ValidateSpeculation(request.speculation, config));
  RETURN_IF_ERROR(ValidateTenant(request.tenant));
  if (!request.output.logprobs) return absl::OkStatus();
  return InRange("output.logprobs", *request.output.logprobs, 0, kMaxTopLogprobs);
}

absl::Status ValidatePrompt(std::span<const TokenId> prompt, const GenerateRequest& request,
                            const ModelConfig& config, int max_context) {
  if (prompt.empty()) return absl::InvalidArgumentError("prompt: is empty");
  for (const TokenId id : prompt) RETURN_IF_ERROR(IsToken("prompt", id, config));
  const int reserved = request.stopping.max_new_tokens > 0 ? 1 : 0;
  if (static_cast<int64_t>(prompt.size()) + reserved > max_context) {
    return absl::OutOfRangeError(fmt::format("prompt: {} tokens do not fit a context of {}{}",
                                             prompt.size(), max_context,
                                             reserved > 0 ? " with room for one new token" : ""));
  }
  return absl::OkStatus();
}

}  // namespace strata
