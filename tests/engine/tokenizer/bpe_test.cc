#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/bpe_merger.h"
#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/pre_tokenizer.h"

namespace strata {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;

using MergeTable = std::map<std::pair<TokenId, TokenId>, std::pair<int32_t, TokenId>>;

// The definition, step by step: merge the leftmost pair of the lowest rank until there is none.
void MergeSlowly(const MergeTable& merges, std::vector<TokenId>& symbols) {
  while (true) {
    auto best = merges.end();
    size_t at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto it = merges.find({symbols[i], symbols[i + 1]});
      if (it == merges.end()) continue;
      if (best == merges.end() || it->second.first < best->second.first) {
        best = it;
        at = i;
      }
    }
    if (best == merges.end()) return;
    symbols[at] = best->second.second;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(BpeMerger, AgreesWithTheDefinition) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    constexpr TokenId kLetters = 3;
    BpeMerger merger;
    MergeTable table;
    const int num_merges = 1 + static_cast<int>(random() % 20);
    for (int i = 0; i < num_merges; ++i) {
      // Of letters and earlier merges; the rank need not follow the order.
      const auto known = static_cast<uint32_t>(kLetters + i);
      const auto left = static_cast<TokenId>(random() % known);
      const auto right = static_cast<TokenId>(random() % known);
      const auto rank = static_cast<int32_t>(random() % 1000) * 20 + i;
      if (!table.try_emplace({left, right}, rank, kLetters + i).second) continue;
      merger.Add(left, right, rank, kLetters + i);
    }
    for (int word = 0; word < 20; ++word) {
      std::vector<TokenId> symbols(random() % 40);
      for (TokenId& symbol : symbols) symbol = static_cast<TokenId>(random() % kLetters);
      std::vector<TokenId> expected = symbols;
      MergeSlowly(table, expected);
      merger.Apply(symbols);
      ASSERT_EQ(symbols, expected);
    }
  }
}

TEST(BpeMerger, LaterRankOfAPairWins) {
  BpeMerger merger;
  merger.Add(0, 1, 0, 10);
  merger.Add(1, 2, 1, 11);
  merger.Add(0, 1, 2, 10);
  std::vector<TokenId> symbols = {0, 1, 2};
  merger.Apply(symbols);
  EXPECT_THAT(symbols, ElementsAre(0, 11));
}

TEST(ByteAlphabet, WritesAndReadsEveryByte) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto bytes = BytesOfPiece(WrittenByte(static_cast<uint8_t>(byte)));
    ASSERT_TRUE(bytes.has_value());
    EXPECT_EQ(*bytes, std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(WrittenByte(' '), "\xc4\xa0");  // U+0120, as every such vocabulary shows
  EXPECT_EQ(WrittenByte('\n'), "\xc4\x8a");
  EXPECT_EQ(WrittenByte('a'), "a");
  EXPECT_EQ(BytesOfPiece("\xe2\x96\x81"), std::nullopt);
  EXPECT_EQ(BytesOfPiece(" "), std::nullopt);
  EXPECT_EQ(BytesOfPiece("a\xff"), std::nullopt);
}

std::vector<std::string> Show(const std::vector<TextSegment>& segments) {
  std::vector<std::string> out;
  for (const TextSegment& segment : segments) {
    out.push_back(segment.token ? std::to_string(*segment.token) : std::string(segment.text));
  }
  return out;
}

TEST(AddedTokens, TheLongestAtTheLeftmostPlaceWins) {
  AddedTokens tokens;
  EXPECT_THAT(Show(tokens.Split("abc")), ElementsAre("abc"));
  tokens.Add("<a>", 1);
  tokens.Add("<a><b>", 2);
  tokens.Add("<b><c>", 3);
  tokens.Add("<c", 4);
  EXPECT_THAT(Show(tokens.Split("")), ElementsAre());
  EXPECT_THAT(Show(tokens.Split("x<a>y")), ElementsAre("x", "1", "y"));
  EXPECT_THAT(Show(tokens.Split("<a><b><c>")), ElementsAre("2", "4", ">"));
  EXPECT_THAT(Show(tokens.Split("<b><c><a>")), ElementsAre("3", "1"));
  EXPECT_THAT(Show(tokens.Split("<a><b")), ElementsAre("1", "<b"));
  EXPECT_THAT(Show(tokens.Split("<<a><")), ElementsAre("<", "1", "<"));
}

std::vector<std::string> Words(const json& definition, std::string_view text) {
  const auto pre_tokenizer = PreTokenizer::Create(definition, "tokenizer.json");
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status();
  RegexScratch scratch;
  std::vector<std::string> out;
  for (const std::string_view word : pre_tokenizer->Split(text, scratch)) out.emplace_back(word);
  return out;
}

json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}};
}

json Sequence(std::vector<json> parts) {
  return {{"type", "Sequence"}, {"pretokenizers", std::move(parts)}};
}

TEST(PreTokenizer, ByteLevelSplitsAsGpt2) {
  EXPECT_THAT(Words(ByteLevel(true), "I'm  here, 42\n\n x"),
              ElementsAre("I", "'m", " ", " here", ",", " 42", "\n\n", " x"));
  EXPECT_THAT(Words(ByteLevel(false), "I'm here"), ElementsAre("I'm here"));
  EXPECT_THAT(Words(ByteLevel(true), ""), ElementsAre());
}

TEST(PreTokenizer, SplitsDigits) {
  const json one = {{"type", "Digits"}, {"individual_digits", true}};
  const json runs = {{"type", "Digits"}, {"individual_digits", false}};
  EXPECT_THAT(Words(Sequence({one, ByteLevel(false)}), "ab12c\xd9\xa3"),
              ElementsAre("ab", "1", "2", "c", "\xd9\xa3"));
  EXPECT_THAT(Words(Sequence({runs, ByteLevel(false)}), "ab12c"), ElementsAre("ab", "12", "c"));
  EXPECT_THAT(Words(Sequence({one, ByteLevel(true)}), "a 12"), ElementsAre("a", " ", "1", "2"));
}

TEST(PreTokenizer, SplitsAtPatterns) {
  const auto split = [](const json& pattern, const char* behavior, bool invert) {
    return Sequence(
        {{{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}},
         ByteLevel(false)});
  };
  const json regex = {{"Regex", "[0-9]+"}};
  EXPECT_THAT(Words(split(regex, "Isolated", false), "a1b"), ElementsAre("a", "1", "b"));
  EXPECT_THAT(Words(split(regex, "Isolated", true), "a1b"), ElementsAre("a", "1", "b"));
  EXPECT_THAT(Words(split(regex, "Removed", false), "a1b"), ElementsAre("a", "b"));
  EXPECT_THAT(Words(split(regex, "Removed", true), "a1b22"), ElementsAre("1", "22"));
  EXPECT_THAT(Words(split({{"String", "."}}, "Isolated", false), "a.b"),
              ElementsAre("a", ".", "b"));
}

}  // namespace
}  // namespace strata
