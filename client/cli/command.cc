#include "client/cli/command.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <chrono>
#include <iostream>
#include <iterator>

#include "client/status_macros.h"

namespace strata::client {

CallOptions CommonFlags::call_options() const {
  CallOptions options;
  if (timeout_seconds > 0) {
    options.timeout = std::chrono::milliseconds(static_cast<int64_t>(timeout_seconds * 1000));
  }
  return options;
}

ColorMode CommonFlags::color_mode() const {
  if (color == "always") return ColorMode::kAlways;
  return color == "never" ? ColorMode::kNever : ColorMode::kAuto;
}

absl::StatusOr<std::string> ReadText(const std::string& argument) {
  if (argument != "-") return argument;
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  if (std::cin.bad()) return absl::DataLossError("cannot read standard input");
  return text;
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  // Cannot fail: no message of ours has an Any.
  (void)google::protobuf::util::MessageToJsonString(message, &json, options);
  return json;
}

}  // namespace strata::client
