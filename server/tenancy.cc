#include "server/tenancy.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace strata::server {
namespace {

constexpr size_t kMaxNameLength = 128;

bool IsKeyCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

}  // namespace

absl::Status CheckMetadataKey(const std::string& key) {
  const std::string_view view = key;
  if (std::all_of(view.begin(), view.end(), IsKeyCharacter) && !view.ends_with("-bin") &&
      !view.starts_with("grpc-")) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is no metadata key for text: use lower-case letters, digits, '-', '_' and "
                  "'.', no \"-bin\" at the end and no \"grpc-\" at the beginning",
                  key));
}

absl::StatusOr<Tenant> TenantOf(const grpc::ServerContextBase& context,
                                const TenancyOptions& options) {
  Tenant tenant = options.defaults;
  if (options.metadata_key.empty()) return tenant;
  const auto [first, end] = context.client_metadata().equal_range(options.metadata_key);
  if (first == end) return tenant;
  if (std::next(first) != end) {
    return absl::InvalidArgumentError(
        fmt::format("metadata {}: more than one value", options.metadata_key));
  }
  if (first->second.size() > kMaxNameLength) {
    return absl::InvalidArgumentError(
        fmt::format("metadata {}: {} characters; at most {} are allowed", options.metadata_key,
                    first->second.size(), kMaxNameLength));
  }
  tenant.name.assign(first->second.data(), first->second.size());
  return tenant;
}

}  // namespace strata::server
