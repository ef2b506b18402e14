#include "engine/text_stream.h"

#include <algorithm>
#include <utility>

namespace strata {

TextStream::TextStream(const Tokenizer* tokenizer, bool at_text_start,
                       std::vector<std::string> stop_sequences, bool include_stop_text)
    : detokenizer_(tokenizer, at_text_start),
      stop_sequences_(std::move(stop_sequences)),
      include_stop_text_(include_stop_text) {}

const std::string* TextStream::Append(TokenId id, std::string* text) {
  if (stop_sequences_.empty()) {
    detokenizer_.Append(id, text);
    return nullptr;
  }
  const size_t searched = held_.size();
  detokenizer_.Append(id, &held_);
  return Search(searched, text);
}

const std::string* TextStream::Finish(std::string* text) {
  const size_t searched = held_.size();
  detokenizer_.Flush(&held_);
  const std::string* stop = Search(searched, text);
  *text += held_;
  held_.clear();
  return stop;
}

const std::string* TextStream::Search(size_t searched, std::string* text) {
  for (size_t end = searched + 1; end <= held_.size(); ++end) {
    const std::string* stop = StopEndingAt(end);
    if (stop == nullptr) continue;
    text->append(held_, 0, include_stop_text_ ? end : end - stop->size());
    held_.clear();
    return stop;
  }
  const size_t sendable = held_.size() - LongestPossibleStop();
  text->append(held_, 0, sendable);
  held_.erase(0, sendable);
  return nullptr;
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
