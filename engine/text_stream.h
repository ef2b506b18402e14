// From committed tokens to the text that a caller sees: detokenization, and
// stop sequences wherever they begin and end.

#ifndef STRATA_ENGINE_TEXT_STREAM_H_
#define STRATA_ENGINE_TEXT_STREAM_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/detokenizer.h"

namespace strata {

// Text that could still become a stop sequence is held back until it is known
// not to. The result depends on the characters only, not on how tokens cut them: of several stop
// sequences, the one that ends first matches, the longest of those that end together.
class TextStream {
 public:
  // `tokenizer` must outlive this. `at_text_start`: see Detokenizer.
  TextStream(const Tokenizer* tokenizer, bool at_text_start,
             std::vector<std::string> stop_sequences, bool include_stop_text);

  struct Output {
    std::string text;                         // to be sent now
    std::optional<std::string> matched_stop;  // nothing may be appended after a match
  };
  Output Append(TokenId id);
  // What is still held back. Call once, after the last token, unless a stop matched.
  Output Finish();
  // Text of tokens that are not searched for stops (an echoed prompt).
  std::string AppendUnsearched(TokenId id) { return detokenizer_.Append(id); }

 private:
  Output Search(const std::string& added);
  // The stop sequence that ends at held_[0, end), or null.
  const std::string* StopEndingAt(size_t end) const;
  // How many of the last bytes of held_ begin some stop sequence.
  size_t LongestPossibleStop() const;

  Detokenizer detokenizer_;
  const std::vector<std::string> stop_sequences_;
  const bool include_stop_text_;
  std::string held_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_TEXT_STREAM_H_
