#include "server/trace_context.h"

#include <algorithm>
#include <iterator>

namespace strata::server {
namespace {

constexpr size_t kLength = 55;  // of version 00

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsId(std::string_view text) {
  return IsHex(text) && text.find_first_not_of('0') != std::string_view::npos;
}

}  // namespace

std::optional<TraceContext> ParseTraceparent(std::string_view header) {
  if (header.size() < kLength) return std::nullopt;
  const std::string_view version = header.substr(0, 2);
  const std::string_view trace_id = header.substr(3, 32);
  const std::string_view parent_id = header.substr(36, 16);
  const std::string_view flags = header.substr(53, 2);
  const bool has_dashes = header[2] == '-' && header[35] == '-' && header[52] == '-';
  if (!has_dashes || !IsHex(version) || version == "ff" || !IsHex(flags)) return std::nullopt;
  if (!IsId(trace_id) || !IsId(parent_id)) return std::nullopt;
  const bool ends_well = header.size() == kLength || (version != "00" && header[kLength] == '-');
  if (!ends_well) return std::nullopt;
  return TraceContext{std::string(trace_id), std::string(parent_id), std::string(flags)};
}

std::optional<TraceContext> TraceContextOf(const grpc::ServerContextBase& context) {
  const auto [first, end] = context.client_metadata().equal_range("traceparent");
  if (first == end || std::next(first) != end) return std::nullopt;
  return ParseTraceparent({first->second.data(), first->second.size()});
}

}  // namespace strata::server
