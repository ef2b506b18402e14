#include "client/cli/command.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <cctype>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <system_error>

#include "client/status_macros.h"

namespace strata::client {

namespace {

// Of the file that `flag` names; empty if it names none.
absl::StatusOr<std::string> ReadFlagFile(const char* flag, const std::string& path) {
  if (path.empty()) return std::string();
  std::error_code error;
  std::ifstream file(path, std::ios::binary);
  if (file && std::filesystem::is_regular_file(path, error)) {
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  return absl::InvalidArgumentError(fmt::format("{}: {} cannot be read", flag, path));
}

}  // namespace

absl::StatusOr<ConnectOptions> CommonFlags::connect_options() const {
  ConnectOptions options;
  options.address = server;
  options.tls = tls || !tls_ca.empty() || !tls_cert.empty() || !tls_key.empty();
  ASSIGN_OR_RETURN(options.ca_certificates, ReadFlagFile("--tls-ca", tls_ca));
  ASSIGN_OR_RETURN(options.certificate, ReadFlagFile("--tls-cert", tls_cert));
  ASSIGN_OR_RETURN(options.private_key, ReadFlagFile("--tls-key", tls_key));
  ASSIGN_OR_RETURN(options.token, ReadFlagFile("--token-file", token_file));
  while (!options.token.empty() && std::isspace(static_cast<unsigned char>(options.token.back()))) {
    options.token.pop_back();  // the end of the line
  }
  RETURN_IF_ERROR(Validate(options));
  return options;
}

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
