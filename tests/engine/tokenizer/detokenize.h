// What a Detokenizer appends, call by call.

#ifndef STRATA_TESTS_ENGINE_TOKENIZER_DETOKENIZE_H_
#define STRATA_TESTS_ENGINE_TOKENIZER_DETOKENIZE_H_

#include <string>

#include "engine/tokenizer/detokenizer.h"

namespace strata {

inline std::string Append(Detokenizer& detokenizer, TokenId id) {
  std::string text;
  detokenizer.Append(id, &text);
  return text;
}

inline std::string Flush(Detokenizer& detokenizer) {
  std::string text;
  detokenizer.Flush(&text);
  return text;
}

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_TOKENIZER_DETOKENIZE_H_
