#include "engine/tokenizer/detokenizer.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "engine/tokenizer/utf8.h"
#include "tests/engine/tokenizer/detokenize.h"

namespace strata {
namespace {

constexpr char kFFFD[] = "\xef\xbf\xbd";

// Tokens with given bytes; the piece of a token that begins with a space is
// written with sentencepiece's mark.
class FakeTokenizer : public Tokenizer {
 public:
  FakeTokenizer(std::vector<std::string> tokens, bool strips_space = false)
      : tokens_(std::move(tokens)), strips_space_(strips_space) {
    for (const std::string& token : tokens_) {
      pieces_.push_back(token.starts_with(' ') ? "\xe2\x96\x81" + token.substr(1) : token);
    }
  }
  std::vector<TokenId> Encode(std::string_view, bool) const override { return {}; }
  std::string_view TokenBytes(TokenId id) const override { return tokens_[id]; }
  std::string_view Piece(TokenId id) const override { return pieces_[id]; }
  bool IsSpecial(TokenId) const override { return false; }
  bool StripsLeadingSpace() const override { return strips_space_; }
  std::optional<TokenId> bos_token_id() const override { return std::nullopt; }
  int vocab_size() const override { return static_cast<int>(tokens_.size()); }

 private:
  std::vector<std::string> tokens_;
  std::vector<std::string> pieces_;
  bool strips_space_;
};

TEST(Utf8, CompletePrefixExcludesOnlyUnfinishedCharacters) {
  EXPECT_EQ(CompleteUtf8Prefix(""), 0u);
  EXPECT_EQ(CompleteUtf8Prefix("ab"), 2u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xc3"), 1u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xc3\xa9"), 3u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xe2\x82"), 1u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xf0\x9f\x98"), 1u);
  EXPECT_EQ(CompleteUtf8Prefix("\xf0\x9f\x98\x80"), 4u);
  // Nothing can complete these.
  EXPECT_EQ(CompleteUtf8Prefix("a\xe0\x80"), 3u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xed\xa0"), 3u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xf4\x90"), 3u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xf5"), 2u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xc0"), 2u);
  EXPECT_EQ(CompleteUtf8Prefix("a\x80\x80\x80\x80"), 5u);
  EXPECT_EQ(CompleteUtf8Prefix("\xc3\x80\x80"), 3u);
}

TEST(Utf8, ReplacesMaximalInvalidSequences) {
  const std::string r = kFFFD;
  EXPECT_EQ(ReplaceInvalidUtf8("a\xc3z"), "a" + r + "z");
  // Unicode 15, section 3.9, tables 3-8 to 3-11.
  EXPECT_EQ(ReplaceInvalidUtf8("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(ReplaceInvalidUtf8("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(ReplaceInvalidUtf8("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(ReplaceInvalidUtf8("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), r + r + r + r + "A");
}

TEST(Utf8, EveryCodePointIsWrittenAndRead) {
  for (uint32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string bytes;
    AppendUtf8(c, bytes);
    const Utf8Unit unit = NextUtf8Unit(bytes);
    ASSERT_EQ(unit.kind, Utf8Unit::Kind::kCharacter) << c;
    ASSERT_EQ(unit.length, bytes.size()) << c;
    ASSERT_EQ(unit.code_point, c);
    for (size_t cut = 1; cut < bytes.size(); ++cut)
      ASSERT_EQ(CompleteUtf8Prefix(bytes.substr(0, cut)), 0u);
  }
}

TEST(Detokenizer, HoldsBackUnfinishedCharacters) {
  const FakeTokenizer tokenizer({"\xf0", "\x9f", "\x98", "\x80", "x", "\xc3", ""});
  Detokenizer detokenizer(&tokenizer, true);
  EXPECT_EQ(Append(detokenizer, 0), "");
  EXPECT_EQ(Append(detokenizer, 1), "");
  EXPECT_EQ(Append(detokenizer, 6), "");
  EXPECT_EQ(Append(detokenizer, 2), "");
  EXPECT_EQ(Append(detokenizer, 3), "\xf0\x9f\x98\x80");
  EXPECT_EQ(Append(detokenizer, 5), "");
  EXPECT_EQ(Append(detokenizer, 4), std::string(kFFFD) + "x");
  EXPECT_EQ(Append(detokenizer, 0), "");
  EXPECT_EQ(Flush(detokenizer), kFFFD);
  EXPECT_EQ(Flush(detokenizer), "");
}

TEST(Detokenizer, StripsOneSpaceAtTheStartOfATextOnly) {
  const FakeTokenizer tokenizer({" a", " ", "", "b"}, /*strips_space=*/true);
  const auto text = [&](bool at_start, const std::vector<TokenId>& ids) {
    Detokenizer detokenizer(&tokenizer, at_start);
    std::string out;
    for (const TokenId id : ids) out += Append(detokenizer, id);
    return out + Flush(detokenizer);
  };
  EXPECT_EQ(text(true, {0, 0}), "a a");
  EXPECT_EQ(text(true, {2, 0, 0}), "a a");
  EXPECT_EQ(text(true, {1, 0}), " a");
  EXPECT_EQ(text(true, {3, 0}), "b a");
  EXPECT_EQ(text(false, {0, 0}), " a a");
  EXPECT_EQ(tokenizer.Decode(std::vector<TokenId>{0, 3, 0}), "ab a");
  const FakeTokenizer keeps({" a"}, /*strips_space=*/false);
  EXPECT_EQ(keeps.Decode(std::vector<TokenId>{0}), " a");
}

TEST(Detokenizer, AnyBytesInAnyPiecesGiveTheSameText) {
  std::mt19937 random(1);
  const std::string lead_heavy = "\xc3\xe2\xf0\xed\xe0\xf4\x80\x9f\xa0\xbf\x90 a";
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> tokens(1 + random() % 10);
    std::string bytes;
    for (std::string& token : tokens) {
      for (uint32_t n = random() % 5; n > 0; --n) {
        token.push_back(random() % 4 ? lead_heavy[random() % lead_heavy.size()]
                                     : static_cast<char>(random()));
      }
      bytes += token;
    }
    const FakeTokenizer tokenizer(tokens);
    Detokenizer detokenizer(&tokenizer, true);
    std::string text;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const std::string delta = Append(detokenizer, static_cast<TokenId>(i));
      ASSERT_TRUE(IsValidUtf8(delta));
      text += delta;
    }
    text += Flush(detokenizer);
    ASSERT_TRUE(IsValidUtf8(text));
    ASSERT_EQ(text, ReplaceInvalidUtf8(bytes));
    ASSERT_EQ(IsValidUtf8(bytes), text == bytes);
  }
}

}  // namespace
}  // namespace strata
