// What may be shown on a terminal.

#ifndef STRATA_CLIENT_CLI_TERMINAL_H_
#define STRATA_CLIENT_CLI_TERMINAL_H_

#include <string>
#include <string_view>

namespace strata::client {

enum class ColorMode { kAuto, kAlways, kNever };

// Whether to colour what goes to file descriptor `fd`. kAuto: on a terminal
// that can, unless NO_COLOR (no-color.org) is set.
bool UseColor(ColorMode mode, int fd);

enum class Style {
  kPlain,
  kAccepted,  // drafted by the early layers and accepted: green
  kRejected,  // drafted and rejected: red, struck out
  kFaint,     // prompts and headings
};

// `text` in `style`; as it is if `color` is false. The style ends with the text.
std::string Styled(std::string_view text, Style style, bool color);

}  // namespace strata::client

#endif  // STRATA_CLIENT_CLI_TERMINAL_H_
