// From committed tokens to the text that a caller sees: detokenization, and
// stop sequences wherever they begin and end.

#ifndef STRATA_ENGINE_TEXT_STREAM_H_
#define STRATA_ENGINE_TEXT_STREAM_H_

#include <cstddef>
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

  // Appends what can be sent now to `text`. Returns the stop sequence that matched, or null;
  // nothing may be appended after a match.
  const std::string* Append(TokenId id, std::string* text);
  // The same for what is still held back. Call once, after the last token, unless a stop matched.
  const std::string* Finish(std::string* text);
  // Text of tokens that are not searched for stops (an echoed prompt).
  void AppendUnsearched(TokenId id, std::string* text) { detokenizer_.Append(id, text); }

 private:
  // Moves from held_, of which the first `searched` bytes are known, to `text`.
  const std::string* Search(size_t searched, std::string* text);
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
