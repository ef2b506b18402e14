#include "engine/tokenizer/added_tokens.h"

namespace strata {
namespace {

uint64_t EdgeKey(uint32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
}

}  // namespace

void AddedTokens::Add(std::string_view content, TokenId id) {
  uint32_t node = 0;
  for (const char byte : content) {
    const auto [it, is_new] =
        children_.try_emplace(EdgeKey(node, byte), static_cast<uint32_t>(nodes_.size()));
    if (is_new) nodes_.emplace_back();
    node = it->second;
  }
  nodes_[node].token = id;
}

std::optional<AddedTokens::Found> AddedTokens::LongestAt(std::string_view text) const {
  std::optional<Found> longest;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto it = children_.find(EdgeKey(node, text[i]));
    if (it == children_.end()) break;
    node = it->second;
    if (nodes_[node].token) longest = Found{*nodes_[node].token, i + 1};
  }
  return longest;
}

std::vector<TextSegment> AddedTokens::Split(std::string_view text) const {
  std::vector<TextSegment> segments;
  size_t plain_begin = 0;
  const auto end_plain = [&](size_t end) {
    if (end > plain_begin) {
      segments.push_back({text.substr(plain_begin, end - plain_begin), std::nullopt});
    }
  };
  for (size_t i = 0; i < text.size();) {
    const std::optional<Found> found = LongestAt(text.substr(i));
    if (!found) {
      ++i;
      continue;
    }
    end_plain(i);
    segments.push_back({text.substr(i, found->length), found->token});
    i += found->length;
    plain_begin = i;
  }
  end_plain(text.size());
  return segments;
}

}  // namespace strata
