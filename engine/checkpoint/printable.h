// Names and values of untrusted files, made fit for an error message.

#ifndef STRATA_ENGINE_CHECKPOINT_PRINTABLE_H_
#define STRATA_ENGINE_CHECKPOINT_PRINTABLE_H_

#include <string>
#include <string_view>

namespace strata {

// `text` with everything but printable ASCII as '?', cut at `max_bytes`.
std::string Printable(std::string_view text, size_t max_bytes = 120);
// The same, in double quotes.
std::string Quoted(std::string_view text);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_PRINTABLE_H_
