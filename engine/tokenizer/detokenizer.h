// Turns a stream of token ids into a stream of valid UTF-8.

#ifndef STRATA_ENGINE_TOKENIZER_DETOKENIZER_H_
#define STRATA_ENGINE_TOKENIZER_DETOKENIZER_H_

#include <string>

#include "engine/tokenizer/tokenizer.h"

namespace strata {

// Holds back only the bytes of an unfinished character (at most 3). The
// text that Append and Flush write equals Tokenizer::Decode of all ids
// (for a text that starts here: at_text_start).
class Detokenizer {
 public:
  // `at_text_start`: whether the first token begins a text (and so may lose
  // its dummy leading space) or continues a prompt. The tokenizer must outlive this.
  Detokenizer(const Tokenizer* tokenizer, bool at_text_start)
      : tokenizer_(tokenizer), strip_space_(at_text_start && tokenizer->StripsLeadingSpace()) {}

  // Appends the characters that `id` completes, if any, to `text`.
  void Append(TokenId id, std::string* text);
  // Appends the bytes still held back, as U+FFFD per invalid sequence. Call once, at the end.
  void Flush(std::string* text);

 private:
  const Tokenizer* tokenizer_;
  bool strip_space_;
  std::string pending_;
};

// Length of the longest prefix of `bytes` that ends at a character boundary, where only an
// unfinished but so far valid character at the end is excluded.
size_t CompleteUtf8Prefix(std::string_view bytes);
// `bytes` with each maximal invalid sequence replaced by U+FFFD (Unicode's recommended practice).
std::string ReplaceInvalidUtf8(std::string_view bytes);
bool IsValidUtf8(std::string_view bytes);

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_DETOKENIZER_H_
