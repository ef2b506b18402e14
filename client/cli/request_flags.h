// The flags that make a GenerateRequest, shared by the commands that generate.

#ifndef STRATA_CLIENT_CLI_REQUEST_FLAGS_H_
#define STRATA_CLIENT_CLI_REQUEST_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "strata/v1/inference.pb.h"

namespace strata::client {

// What is absent is left to the server.
struct RequestFlags {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<uint32_t> top_k;
  std::optional<float> min_p;
  std::optional<uint64_t> seed;
  std::optional<float> repetition_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::optional<uint32_t> num_samples;
  std::optional<uint32_t> max_new_tokens;
  std::vector<std::string> stop_sequences;
  std::optional<uint32_t> time_limit_ms;
  bool ignore_eos = false;
  bool include_stop_text = false;
  std::string speculation;  // "off", "fixed", "auto", or empty
  std::optional<uint32_t> exit_layer;
  std::optional<uint32_t> num_draft_tokens;
  std::optional<uint32_t> logprobs;
  bool echo = false;
  bool show_drafts = false;
};

// Adds the flags to `command`; `flags` must outlive its parsing.
void AddSamplingFlags(CLI::App* command, RequestFlags* flags);
void AddSpeculationFlags(CLI::App* command, RequestFlags* flags);
void AddOutputFlags(CLI::App* command, RequestFlags* flags);

// All but the prompt. INVALID_ARGUMENT where flags contradict each other.
absl::StatusOr<v1::GenerateRequest> MakeRequest(const RequestFlags& flags);

}  // namespace strata::client

#endif  // STRATA_CLIENT_CLI_REQUEST_FLAGS_H_
