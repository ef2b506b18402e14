// Patterns of tokenizer.json are in Oniguruma's Ruby syntax; we match with PCRE2.

#ifndef STRATA_ENGINE_TOKENIZER_REGEX_TRANSLATION_H_
#define STRATA_ENGINE_TOKENIZER_REGEX_TRANSLATION_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace strata {

// `pattern` in PCRE2's syntax. The two agree on all that known tokenizers use
// but the meaning of \s and \w, which are written out here (PCRE2 counts U+180E
// as a space, and no marks as word characters). What means something else in
// PCRE2, or nothing, is refused: classes in classes, class intersections, \h,
// \H and (?m).
absl::StatusOr<std::string> TranslateOniguruma(std::string_view pattern);

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_REGEX_TRANSLATION_H_
