// Checks of a request against the limits in request.h and the model.

#ifndef STRATA_ENGINE_REQUEST_VALIDATION_H_
#define STRATA_ENGINE_REQUEST_VALIDATION_H_

#include <span>

#include "absl/status/status.h"
#include "engine/checkpoint/model_config.h"
#include "engine/request.h"

namespace strata {

inline constexpr float kMinTemperature = 0.01f;
inline constexpr float kMaxTemperature = 100.0f;
inline constexpr float kMaxPenalty = 2.0f;  // presence and frequency, either sign
inline constexpr float kMinRepetitionPenalty = 0.01f;
inline constexpr float kMaxRepetitionPenalty = 100.0f;
inline constexpr float kMaxLogitBias = 1000.0f;  // either sign
inline constexpr int kMaxLogitBiasEntries = 1024;
inline constexpr int kMaxSamples = 16;
inline constexpr int kMaxStopSequences = 16;
inline constexpr int kMaxStopSequenceBytes = 256;
inline constexpr int kMaxStopTokenIds = 64;
inline constexpr int kMaxDraftTokens = 32;
inline constexpr int kMaxTopLogprobs = 20;

// Everything but the prompt. INVALID_ARGUMENT; the message begins with the field's name.
absl::Status ValidateRequest(const GenerateRequest& request, const ModelConfig& config);

// INVALID_ARGUMENT: empty, or an id outside the vocabulary. OUT_OF_RANGE: longer than the
// context, or leaving no room to generate.
absl::Status ValidatePrompt(std::span<const TokenId> prompt, const GenerateRequest& request,
                            const ModelConfig& config, int max_context);

}  // namespace strata

#endif  // STRATA_ENGINE_REQUEST_VALIDATION_H_
