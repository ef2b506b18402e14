// Where a call belongs among those of other programs: W3C Trace Context's header "traceparent".

#ifndef STRATA_SERVER_TRACE_CONTEXT_H_
#define STRATA_SERVER_TRACE_CONTEXT_H_

#include <grpcpp/server_context.h>

#include <optional>
#include <string>
#include <string_view>

namespace strata::server {

struct TraceContext {
  std::string trace_id;   // 32 lower-case hexadecimal digits, not all zero
  std::string parent_id;  // 16, likewise: the caller's span
  std::string flags;      // 2

  // As version 00 writes it.
  std::string ToHeader() const { return "00-" + trace_id + "-" + parent_id + "-" + flags; }
};

// Absent for what is no traceparent (https://www.w3.org/TR/trace-context, section 3.2). Of versions
// after 00 the part that 00 defines is taken, as the standard asks.
std::optional<TraceContext> ParseTraceparent(std::string_view header);

// The call's. Absent, as the standard asks, where there are several.
std::optional<TraceContext> TraceContextOf(const grpc::ServerContextBase& context);

}  // namespace strata::server

#endif  // STRATA_SERVER_TRACE_CONTEXT_H_
