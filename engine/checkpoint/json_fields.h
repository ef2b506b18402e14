// Typed, range-checked reading of a JSON object's keys.

#ifndef STRATA_ENGINE_CHECKPOINT_JSON_FIELDS_H_
#define STRATA_ENGINE_CHECKPOINT_JSON_FIELDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace strata {

// A value as an error message shows it: scalars written out, cut if long.
std::string ShowJson(const nlohmann::json& value);

// Every error names the source, the key, the value found and what was expected.
// A key that is absent or null reads as nullopt. Does not own the object.
class JsonFields {
 public:
  // `prefix` is put before keys in messages, e.g. "rope_scaling.".
  JsonFields(const nlohmann::json& object, std::string source, std::string prefix = "")
      : object_(object), source_(std::move(source)), prefix_(std::move(prefix)) {}

  // Null if absent or null.
  const nlohmann::json* Find(std::string_view key) const;

  absl::StatusOr<std::optional<int64_t>> Int(std::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<int64_t> RequiredInt(std::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<std::optional<double>> Number(std::string_view key, double min, double max) const;
  absl::StatusOr<double> RequiredNumber(std::string_view key, double min, double max) const;
  absl::StatusOr<std::optional<bool>> Bool(std::string_view key) const;
  absl::StatusOr<std::optional<std::string>> String(std::string_view key) const;

  // INVALID_ARGUMENT "<source>: <key> is <value>, expected <expected>".
  absl::Status Unexpected(std::string_view key, const nlohmann::json& value,
                          std::string_view expected) const;

 private:
  absl::Status Missing(std::string_view key) const;

  const nlohmann::json& object_;
  std::string source_;
  std::string prefix_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_JSON_FIELDS_H_
