#include "engine/checkpoint/rope_config.h"

#include <optional>
#include <string_view>

#include "engine/checkpoint/json_fields.h"
#include "engine/status_macros.h"

namespace strata {
namespace {

using nlohmann::json;

constexpr double kMaxTheta = 1e12;
constexpr double kMaxFactor = 1e6;
constexpr int64_t kMaxOriginalPositions = 1 << 22;

absl::StatusOr<RopeScaling::Type> ReadType(const JsonFields& fields) {
  ASSIGN_OR_RETURN(std::optional<std::string> type, fields.String("rope_type"));
  std::string_view key = "rope_type";
  if (!type) {
    key = "type";
    ASSIGN_OR_RETURN(type, fields.String(key));
  }
  if (!type || *type == "default" || *type == "none") return RopeScaling::Type::kNone;
  if (*type == "linear") return RopeScaling::Type::kLinear;
  if (*type == "llama3") return RopeScaling::Type::kLlama3;
  return fields.Unexpected(
      key, *type, "one of the supported types: \"default\" (none), \"linear\", \"llama3\"");
}

absl::Status ReadLlama3(const JsonFields& fields, RopeScaling& scaling) {
  ASSIGN_OR_RETURN(scaling.low_freq_factor,
                   fields.RequiredNumber("low_freq_factor", 1e-6, kMaxFactor));
  ASSIGN_OR_RETURN(scaling.high_freq_factor,
                   fields.RequiredNumber("high_freq_factor", 1e-6, kMaxFactor));
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    return fields.Unexpected("high_freq_factor", scaling.high_freq_factor,
                             "a number greater than low_freq_factor");
  }
  ASSIGN_OR_RETURN(
      scaling.original_max_position_embeddings,
      fields.RequiredInt("original_max_position_embeddings", 1, kMaxOriginalPositions));
  return absl::OkStatus();
}

absl::StatusOr<RopeScaling> ReadScaling(const JsonFields& fields) {
  RopeScaling scaling;
  ASSIGN_OR_RETURN(scaling.type, ReadType(fields));
  if (scaling.type == RopeScaling::Type::kNone) return scaling;
  ASSIGN_OR_RETURN(scaling.factor, fields.RequiredNumber("factor", 1.0, kMaxFactor));
  if (scaling.type == RopeScaling::Type::kLlama3) RETURN_IF_ERROR(ReadLlama3(fields, scaling));
  return scaling;
}

absl::Status ReadTheta(const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(const std::optional<double> theta, fields.Number("rope_theta", 1.0, kMaxTheta));
  if (theta) config.rope_theta = *theta;
  ASSIGN_OR_RETURN(const std::optional<double> partial,
                   fields.Number("partial_rotary_factor", 0.0, 1.0));
  if (partial && *partial != 1.0) {
    return fields.Unexpected("partial_rotary_factor", *partial,
                             "1: heads rotated in part are not supported");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadRope(const json& root, const std::string& path, ModelConfig& config) {
  const JsonFields fields(root, path);
  RETURN_IF_ERROR(ReadTheta(fields, config));
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const json* object = fields.Find(key);
    if (object == nullptr) continue;
    if (!object->is_object()) return fields.Unexpected(key, *object, "an object or null");
    const JsonFields nested(*object, path, std::string(key) + ".");
    RETURN_IF_ERROR(ReadTheta(nested, config));
    ASSIGN_OR_RETURN(config.rope_scaling, ReadScaling(nested));
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

}  // namespace strata
