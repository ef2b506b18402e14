#include "server/speculation_translation.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "engine/request_validation.h"
#include "engine/status_macros.h"
#include "server/status_mapping.h"

namespace strata::server {
namespace {

absl::Status CheckRange(const std::string& path, uint32_t value, uint32_t min, uint32_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return FieldError(path, fmt::format("{} is out of range [{}, {}]", value, min, max));
}

absl::Status CheckExitLayer(const std::string& path, uint32_t layer, const RequestLimits& limits) {
  return CheckRange(path, layer, 1, static_cast<uint32_t>(limits.num_layers - 1));
}

absl::StatusOr<Speculation> TranslateFixed(const v1::Fixed& proto, const RequestDefaults& defaults,
                                           const RequestLimits& limits) {
  Speculation speculation;
  speculation.mode = Speculation::Mode::kFixed;
  speculation.exit_layer = defaults.exit_layer;
  speculation.num_draft_tokens = defaults.num_draft_tokens;
  if (proto.has_exit_layer()) {
    RETURN_IF_ERROR(CheckExitLayer("speculation.fixed.exit_layer", proto.exit_layer(), limits));
    speculation.exit_layer = static_cast<int>(proto.exit_layer());
  }
  if (proto.has_num_draft_tokens()) {
    RETURN_IF_ERROR(CheckRange("speculation.fixed.num_draft_tokens", proto.num_draft_tokens(), 0,
                               kMaxDraftTokens));
    speculation.num_draft_tokens = static_cast<int>(proto.num_draft_tokens());
  }
  return speculation;
}

absl::StatusOr<Speculation> TranslateAuto(const v1::Auto& proto, const RequestLimits& limits) {
  Speculation speculation;
  speculation.mode = Speculation::Mode::kAuto;
  if (proto.has_max_draft_tokens()) {
    RETURN_IF_ERROR(CheckRange("speculation.auto.max_draft_tokens", proto.max_draft_tokens(), 1,
                               kMaxDraftTokens));
    speculation.num_draft_tokens = static_cast<int>(proto.max_draft_tokens());
  }
  for (int i = 0; i < proto.exit_layers_size(); ++i) {
    const std::string path = fmt::format("speculation.auto.exit_layers[{}]", i);
    RETURN_IF_ERROR(CheckExitLayer(path, proto.exit_layers(i), limits));
    const int layer = static_cast<int>(proto.exit_layers(i));
    if (std::count(speculation.exit_layers.begin(), speculation.exit_layers.end(), layer) > 0) {
      return FieldError(path, "repeats an earlier one");
    }
    speculation.exit_layers.push_back(layer);
  }
  return speculation;
}

}  // namespace

absl::StatusOr<Speculation> TranslateSpeculation(const v1::Speculation& proto,
                                                 const RequestDefaults& defaults,
                                                 const RequestLimits& limits) {
  switch (proto.mode_case()) {
    case v1::Speculation::kOff:
      return Speculation{};
    case v1::Speculation::kFixed:
      return TranslateFixed(proto.fixed(), defaults, limits);
    case v1::Speculation::kAuto:
      return TranslateAuto(proto.auto_(), limits);
    case v1::Speculation::MODE_NOT_SET:
      break;
  }
  if (defaults.speculation == Speculation::Mode::kFixed) {
    return TranslateFixed(v1::Fixed(), defaults, limits);
  }
  Speculation speculation;
  speculation.mode = defaults.speculation;
  return speculation;
}

v1::Speculation ToProto(const Speculation& speculation) {
  v1::Speculation proto;
  switch (speculation.mode) {
    case Speculation::Mode::kOff:
      proto.mutable_off();
      break;
    case Speculation::Mode::kFixed:
      proto.mutable_fixed()->set_exit_layer(speculation.exit_layer);
      proto.mutable_fixed()->set_num_draft_tokens(speculation.num_draft_tokens);
      break;
    case Speculation::Mode::kAuto:
      if (speculation.num_draft_tokens > 0) {
        proto.mutable_auto_()->set_max_draft_tokens(speculation.num_draft_tokens);
      }
      for (const int layer : speculation.exit_layers) {
        proto.mutable_auto_()->add_exit_layers(layer);
      }
      proto.mutable_auto_();
      break;
  }
  return proto;
}

}  // namespace strata::server
