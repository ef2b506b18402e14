#include "engine/checkpoint/json_fields.h"

#include <cmath>
#include <limits>

#include "engine/checkpoint/printable.h"
#include "engine/status_macros.h"
#include "fmt/format.h"

namespace strata {
namespace {

using nlohmann::json;

// The value if it is an integer that fits int64_t.
std::optional<int64_t> AsInt64(const json& value) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  return std::nullopt;
}

}  // namespace

std::string ShowJson(const json& value) {
  if (value.is_string()) return Quoted(value.get_ref<const std::string&>());
  if (value.is_structured()) {
    // Short ones are worth seeing; long ones would be copied only to be cut.
    if (value.size() > 8) return fmt::format("an {} of {} values", value.type_name(), value.size());
    return Printable(value.dump(), 60);
  }
  return value.dump();
}

const json* JsonFields::Find(std::string_view key) const {
  const auto it = object_.find(key);
  if (it == object_.end() || it->is_null()) return nullptr;
  return &*it;
}

absl::Status JsonFields::Unexpected(std::string_view key, const json& value,
                                    std::string_view expected) const {
  return absl::InvalidArgumentError(
      fmt::format("{}: {}{} is {}, expected {}", source_, prefix_, key, ShowJson(value), expected));
}

absl::Status JsonFields::Missing(std::string_view key) const {
  return absl::InvalidArgumentError(
      fmt::format("{}: key {}{} is missing; add it", source_, prefix_, key));
}

absl::StatusOr<std::optional<int64_t>> JsonFields::Int(std::string_view key, int64_t min,
                                                       int64_t max) const {
  const json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = AsInt64(*value);
  if (!number || *number < min || *number > max) {
    return Unexpected(key, *value, fmt::format("an integer from {} to {}", min, max));
  }
  return number;
}

absl::StatusOr<int64_t> JsonFields::RequiredInt(std::string_view key, int64_t min,
                                                int64_t max) const {
  ASSIGN_OR_RETURN(const std::optional<int64_t> value, Int(key, min, max));
  if (!value) return Missing(key);
  return *value;
}

absl::StatusOr<std::optional<double>> JsonFields::Number(std::string_view key, double min,
                                                         double max) const {
  const json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const double number =
      value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
  if (!std::isfinite(number) || number < min || number > max) {
    return Unexpected(key, *value, fmt::format("a number from {} to {}", min, max));
  }
  return number;
}

absl::StatusOr<double> JsonFields::RequiredNumber(std::string_view key, double min,
                                                  double max) const {
  ASSIGN_OR_RETURN(const std::optional<double> value, Number(key, min, max));
  if (!value) return Missing(key);
  return *value;
}

absl::StatusOr<std::optional<bool>> JsonFields::Bool(std::string_view key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) return Unexpected(key, *value, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::optional<std::string>> JsonFields::String(std::string_view key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return Unexpected(key, *value, "a string");
  return value->get<std::string>();
}

}  // namespace strata
