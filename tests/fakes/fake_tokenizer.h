// A tokenizer that can be worked out by hand: a token per byte, or per entry
// of a list of longer ones.

#ifndef STRATA_TESTS_FAKES_FAKE_TOKENIZER_H_
#define STRATA_TESTS_FAKES_FAKE_TOKENIZER_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace strata {

// Ids 0 to 255 are the bytes, 256 is BOS, from 257 on come `merged`: greedy,
// the first that fits.
class FakeTokenizer final : public Tokenizer {
 public:
  static constexpr TokenId kBos = 256;
  static constexpr TokenId kFirstMerged = 257;

  explicit FakeTokenizer(std::vector<std::string> merged = {}) : merged_(std::move(merged)) {
    for (int byte = 0; byte < 256; ++byte) bytes_.emplace_back(1, static_cast<char>(byte));
  }

  std::vector<TokenId> Encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<TokenId> ids;
    if (add_special_tokens) ids.push_back(kBos);
    while (!text.empty()) {
      const TokenId id = FirstToken(text);
      ids.push_back(id);
      text.remove_prefix(TokenBytes(id).size());
    }
    return ids;
  }

  std::string_view TokenBytes(TokenId id) const override {
    if (id == kBos) return "";
    return id < kBos ? bytes_[id] : merged_[id - kFirstMerged];
  }
  std::string_view Piece(TokenId id) const override {
    return id == kBos ? std::string_view("<s>") : TokenBytes(id);
  }
  bool IsSpecial(TokenId id) const override { return id == kBos; }
  bool StripsLeadingSpace() const override { return false; }
  std::optional<TokenId> bos_token_id() const override { return kBos; }
  int vocab_size() const override { return kFirstMerged + static_cast<int>(merged_.size()); }

 private:
  TokenId FirstToken(std::string_view text) const {
    for (size_t i = 0; i < merged_.size(); ++i) {
      if (text.substr(0, merged_[i].size()) == merged_[i]) {
        return kFirstMerged + static_cast<TokenId>(i);
      }
    }
    return static_cast<unsigned char>(text.front());
  }

  const std::vector<std::string> merged_;
  std::vector<std::string> bytes_;
};

}  // namespace strata

#endif  // STRATA_TESTS_FAKES_FAKE_TOKENIZER_H_
