// A tokenizer whose tokens are given byte strings, by default the 256 bytes.

#ifndef STRATA_TESTS_ENGINE_UNIT_FAKE_TOKENIZER_H_
#define STRATA_TESTS_ENGINE_UNIT_FAKE_TOKENIZER_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace strata {

class FakeTokenizer final : public Tokenizer {
 public:
  FakeTokenizer() : FakeTokenizer(AllBytes()) {}
  explicit FakeTokenizer(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}

  // One token per byte; only of the default vocabulary.
  std::vector<TokenId> Encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string_view TokenBytes(TokenId id) const override { return pieces_[id]; }
  std::string_view Piece(TokenId id) const override { return pieces_[id]; }
  bool IsSpecial(TokenId id) const override { return false; }
  bool StripsLeadingSpace() const override { return false; }
  std::optional<TokenId> bos_token_id() const override { return std::nullopt; }
  int vocab_size() const override { return static_cast<int>(pieces_.size()); }

 private:
  static std::vector<std::string> AllBytes() {
    std::vector<std::string> bytes;
    for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
    return bytes;
  }

  const std::vector<std::string> pieces_;
};

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_UNIT_FAKE_TOKENIZER_H_
