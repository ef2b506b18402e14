// A header "traceparent": refused, or read as what it says.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/trace_context.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string header(reinterpret_cast<const char*>(data), size);
  const auto context = strata::server::ParseTraceparent(header);
  if (!context) return 0;
  // It goes into logs and back to the caller: nothing but what the standard lets through.
  const std::string written = context->ToHeader();
  if (written.size() != 55 || written.substr(2) != header.substr(2, 53)) std::abort();
  if (written.find_first_not_of("0123456789abcdef-") != std::string::npos) std::abort();
  return 0;
}
