// Finds tokens that are written out in a text, such as "<|eot_id|>".

#ifndef STRATA_ENGINE_TOKENIZER_ADDED_TOKENS_H_
#define STRATA_ENGINE_TOKENIZER_ADDED_TOKENS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace strata {

// A stretch of a text: either one added token or text without any.
struct TextSegment {
  std::string_view text;
  std::optional<TokenId> token;
};

// Immutable once all tokens are added; then safe to use from several threads.
class AddedTokens {
 public:
  // REQUIRES: `content` is not empty.
  void Add(std::string_view content, TokenId id);

  // Cuts `text` at the leftmost, and of those the longest, tokens. Takes at
  // most the length of the longest token in steps per byte.
  std::vector<TextSegment> Split(std::string_view text) const;

 private:
  // A tree of the tokens' bytes; node 0 is its root.
  struct Node {
    std::optional<TokenId> token;
  };
  struct Found {
    TokenId token;
    size_t length;
  };

  std::optional<Found> LongestAt(std::string_view text) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::unordered_map<uint64_t, uint32_t> children_;  // node << 8 | byte -> node
};

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_ADDED_TOKENS_H_
