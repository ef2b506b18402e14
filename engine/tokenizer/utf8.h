// Stepping through UTF-8, valid or not.

#ifndef STRATA_ENGINE_TOKENIZER_UTF8_H_
#define STRATA_ENGINE_TOKENIZER_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace strata {

// What stands at the start of some bytes.
struct Utf8Unit {
  enum class Kind {
    kCharacter,   // a well-formed character of `length` bytes
    kInvalid,     // `length` bytes that no continuation can make a character of
    kUnfinished,  // the bytes end within a character that is well-formed so far
  };
  Kind kind;
  size_t length;
  uint32_t code_point;  // of kCharacter
};

// REQUIRES: `bytes` is not empty. An invalid unit is a "maximal subpart" (Unicode 15, section 3.9,
// table 3-7): the longest start of a character, or one byte.
Utf8Unit NextUtf8Unit(std::string_view bytes);

void AppendUtf8(uint32_t code_point, std::string& out);

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_UTF8_H_
