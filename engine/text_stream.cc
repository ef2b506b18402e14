#include "engine/text_stream.h"

#include <algorithm>
#include <utility>

namespace strata {

TextStream::TextStream(const Tokenizer* tokenizer, bool at_text_start,
                       std::vector<std::string> stop_sequences, bool include_stop_text)
    : detokenizer_(tokenizer, at_text_start),
      stop_sequences_(std::move(stop_sequences)),
      include_stop_text_(include_stop_text) {}

TextStream::Output TextStream::Append(TokenId id) { return Search(detokenizer_.Append(id)); }

TextStream::Output TextStream::Finish() {
  Output output = Search(detokenizer_.Flush());
  output.text += std::exchange(held_, {});
  return output;
}

TextStream::Output TextStream::Search(const std::string& added) {
  if (stop_sequences_.empty()) return {added, std::nullopt};
  const size_t searched = held_.size();
  held_ += added;
  for (size_t end = searched + 1; end <= held_.size(); ++end) {
    const std::string* stop = StopEndingAt(end);
    if (stop == nullptr) continue;
    const size_t kept = include_stop_text_ ? end : end - stop->size();
    Output output{held_.substr(0, kept), *stop};
    held_.clear();
    return output;
  }
  const size_t sendable = held_.size() - LongestPossibleStop();
  Output output{held_.substr(0, sendable), std::nullopt};
  held_.erase(0, sendable);
  return output;
}

const std::string* TextStream::StopEndingAt(size_t end) const {
  const std::string* longest = nullptr;
  for (const std::string& stop : stop_sequences_) {
    if (!std::string_view(held_).substr(0, end).ends_with(stop)) continue;
    if (longest == nullptr || stop.size() > longest->size()) longest = &stop;
  }
  return longest;
}

size_t TextStream::LongestPossibleStop() const {
  size_t longest = 0;
  for (const std::string& stop : stop_sequences_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, n))) longest = n;
    }
  }
  return longest;
}

}  // namespace strata
