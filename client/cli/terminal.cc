#include "client/cli/terminal.h"

#include <unistd.h>

#include <cstdlib>

namespace strata::client {
namespace {

constexpr char kReset[] = "\033[0m";

const char* Code(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kAccepted:
      return "\033[32m";
    case Style::kRejected:
      return "\033[9;31m";
    case Style::kFaint:
      return "\033[2m";
  }
  return "";
}

bool IsSet(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

}  // namespace

bool UseColor(ColorMode mode, int fd) {
  if (mode != ColorMode::kAuto) return mode == ColorMode::kAlways;
  const char* term = std::getenv("TERM");
  const bool capable = term != nullptr && std::string_view(term) != "dumb";
  return isatty(fd) == 1 && capable && !IsSet("NO_COLOR");
}

std::string Styled(std::string_view text, Style style, bool color) {
  if (!color || text.empty() || style == Style::kPlain) return std::string(text);
  return std::string(Code(style)).append(text).append(kReset);
}

}  // namespace strata::client
