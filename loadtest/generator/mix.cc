#include "loadtest/generator/mix.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <utility>

#include "client/status_macros.h"
#include "nlohmann/json.hpp"

namespace strata::loadtest {
namespace {

using nlohmann::json;

constexpr int kMaxTokens = 1 << 20;

absl::Status Invalid(size_t index, std::string_view field, std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("entry {}: {}: {}", index, field, what));
}

bool IsTokenCount(const json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() >= 1 &&
         value.get<uint64_t>() <= kMaxTokens;
}

absl::Status ReadRange(const json& entry, size_t index, const char* field,
                       std::optional<TokenRange>& range) {
  if (!entry.contains(field)) return absl::OkStatus();
  const json& value = entry[field];
  if (IsTokenCount(value)) {
    range = {value.get<int>(), value.get<int>()};
    return absl::OkStatus();
  }
  if (!value.is_array() || value.size() != 2 || !IsTokenCount(value[0]) ||
      !IsTokenCount(value[1]) || value[0] > value[1]) {
    return Invalid(index, field,
                   fmt::format("is neither a number from 1 to {} nor a range [LEAST, MOST] of such",
                               kMaxTokens));
  }
  range = {value[0].get<int>(), value[1].get<int>()};
  return absl::OkStatus();
}

absl::Status ReadShare(const json& entry, size_t index, const char* field, double most,
                       double& share) {
  if (!entry.contains(field)) return absl::OkStatus();
  if (!entry[field].is_number() || entry[field] < 0 || entry[field] > most) {
    return Invalid(index, field, fmt::format("is no number from 0 to {}", most));
  }
  share = entry[field].get<double>();
  return absl::OkStatus();
}

absl::Status ReadSharedTokens(const json& entry, size_t index, MixEntry& result) {
  if (!entry.contains("shared_tokens")) return absl::OkStatus();
  if (!IsTokenCount(entry["shared_tokens"])) {
    return Invalid(index, "shared_tokens", fmt::format("is no number from 1 to {}", kMaxTokens));
  }
  if (!result.prompt_tokens) return Invalid(index, "shared_tokens", "needs prompt_tokens");
  result.shared_tokens = entry["shared_tokens"].get<int>();
  return absl::OkStatus();
}

absl::Status CheckFields(const json& entry, size_t index) {
  constexpr std::string_view kFields[] = {
      "name", "weight", "request", "prompt_tokens", "shared_tokens", "max_new_tokens", "cancel"};
  for (const auto& [field, value] : entry.items()) {
    if (std::find(std::begin(kFields), std::end(kFields), field) == std::end(kFields)) {
      return Invalid(index, field, "is no field of an entry");
    }
  }
  if (entry.contains("name") && !entry["name"].is_string()) {
    return Invalid(index, "name", "is no string");
  }
  return absl::OkStatus();
}

absl::StatusOr<MixEntry> ReadEntry(const json& entry, size_t index) {
  if (!entry.is_object()) return Invalid(index, "entry", "is no object");
  RETURN_IF_ERROR(CheckFields(entry, index));
  MixEntry result;
  result.name = entry.value("name", fmt::format("entry {}", index));
  RETURN_IF_ERROR(ReadShare(entry, index, "weight", 1e9, result.weight));
  RETURN_IF_ERROR(ReadShare(entry, index, "cancel", 1, result.cancel_share));
  RETURN_IF_ERROR(ReadRange(entry, index, "prompt_tokens", result.prompt_tokens));
  RETURN_IF_ERROR(ReadSharedTokens(entry, index, result));
  RETURN_IF_ERROR(ReadRange(entry, index, "max_new_tokens", result.max_new_tokens));
  if (entry.contains("request")) {
    const auto status =
        google::protobuf::util::JsonStringToMessage(entry["request"].dump(), &result.request);
    if (!status.ok()) return Invalid(index, "request", std::string(status.message()));
  }
  if (!result.prompt_tokens &&
      result.request.prompt_case() == v1::GenerateRequest::PROMPT_NOT_SET) {
    return Invalid(index, "request", "has no prompt, and prompt_tokens makes none");
  }
  return result;
}

int Draw(const TokenRange& range, std::mt19937_64& random) {
  return std::uniform_int_distribution(range.least, range.most)(random);
}

std::vector<double> Weights(const std::vector<MixEntry>& mix) {
  std::vector<double> weights;
  for (const MixEntry& entry : mix) weights.push_back(entry.weight);
  return weights;
}

}  // namespace

absl::StatusOr<std::vector<MixEntry>> ParseMix(std::string_view text) {
  const json entries = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (entries.is_discarded()) return absl::InvalidArgumentError("is not JSON");
  if (!entries.is_array() || entries.empty()) {
    return absl::InvalidArgumentError("is no list of entries");
  }
  std::vector<MixEntry> mix;
  double total_weight = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    ASSIGN_OR_RETURN(MixEntry entry, ReadEntry(entries[i], i));
    total_weight += entry.weight;
    mix.push_back(std::move(entry));
  }
  if (total_weight <= 0) return absl::InvalidArgumentError("all weights are zero");
  return mix;
}

CallPlanner::CallPlanner(std::vector<MixEntry> mix, int vocab_size, uint64_t seed)
    : mix_(std::move(mix)), vocab_size_(vocab_size), random_(seed) {
  const std::vector<double> weights = Weights(mix_);
  pick_ = std::discrete_distribution<int>(weights.begin(), weights.end());
  for (const MixEntry& entry : mix_) {
    std::vector<uint32_t>& shared = shared_.emplace_back(entry.shared_tokens);
    for (uint32_t& id : shared) id = RandomToken();
  }
}

uint32_t CallPlanner::RandomToken() {
  return static_cast<uint32_t>(std::uniform_int_distribution(0, vocab_size_ - 1)(random_));
}

PlannedCall CallPlanner::Next(const Arrival& arrival) {
  PlannedCall call;
  call.entry = pick_(random_);
  const MixEntry& entry = mix_[call.entry];
  call.request = entry.request;
  std::optional<int> prompt_tokens = arrival.prompt_tokens;
  if (!prompt_tokens && entry.prompt_tokens) prompt_tokens = Draw(*entry.prompt_tokens, random_);
  if (prompt_tokens) {
    v1::TokenIds* prompt = call.request.mutable_token_ids();
    prompt->clear_ids();
    const std::vector<uint32_t>& shared = shared_[call.entry];
    for (int i = 0; i < *prompt_tokens; ++i) {
      prompt->add_ids(i < entry.shared_tokens ? shared[i] : RandomToken());
    }
  }
  std::optional<int> max_new_tokens = arrival.max_new_tokens;
  if (!max_new_tokens && entry.max_new_tokens)
    max_new_tokens = Draw(*entry.max_new_tokens, random_);
  if (max_new_tokens) call.request.mutable_stopping()->set_max_new_tokens(*max_new_tokens);
  if (std::bernoulli_distribution(entry.cancel_share)(random_)) {
    constexpr int kUnknownLength = 16;  // the server's default: cancel early
    const int tokens = call.request.stopping().has_max_new_tokens()
                           ? static_cast<int>(call.request.stopping().max_new_tokens())
                           : kUnknownLength;
    call.cancel_after_tokens = std::max(1, tokens / 2);
  }
  return call;
}

}  // namespace strata::loadtest
