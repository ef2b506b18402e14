#include "engine/tokenizer/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/tokenizer/regex_translation.h"

namespace strata {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The matches of an Oniguruma pattern.
std::vector<std::string> Find(const std::string& pattern, std::string_view text) {
  const auto translated = TranslateOniguruma(pattern);
  EXPECT_TRUE(translated.ok()) << translated.status();
  const auto regex = Regex::Compile(*translated);
  EXPECT_TRUE(regex.ok()) << regex.status();
  RegexScratch scratch;
  std::vector<std::string> found;
  for (const Regex::Match& match : regex->FindAll(text, scratch)) {
    found.emplace_back(text.substr(match.begin, match.end - match.begin));
  }
  return found;
}

TEST(Regex, FindsMatchesFromLeftToRight) {
  EXPECT_THAT(Find("a+|b", "aacab"), ElementsAre("aa", "a", "b"));
  EXPECT_THAT(Find("\\p{L}+", "h\xc3\xa9 \xe4\xb8\xad"), ElementsAre("h\xc3\xa9", "\xe4\xb8\xad"));
  EXPECT_THAT(Find("x*", "axb"), ElementsAre("x"));
  EXPECT_THAT(Find("a", ""), ElementsAre());
}

TEST(Regex, ReadsLiterals) {
  const auto regex = Regex::Literal("a.*");
  ASSERT_TRUE(regex.ok());
  RegexScratch scratch;
  EXPECT_EQ(regex->FindAll("a.* abc a.*", scratch).size(), 2u);
}

TEST(Regex, SpacesAndWordsAreUnicodesAsInOniguruma) {
  EXPECT_THAT(Find("\\s", "a\xc2\x85\xe2\x80\xa8\xe3\x80\x80z"),
              ElementsAre("\xc2\x85", "\xe2\x80\xa8", "\xe3\x80\x80"));
  EXPECT_THAT(Find("\\s", "\xe1\xa0\x8e"), ElementsAre());  // U+180E
  EXPECT_THAT(Find("[\\s]", "\xe1\xa0\x8e"), ElementsAre());
  EXPECT_THAT(Find("\\S", "\xe1\xa0\x8e "), ElementsAre("\xe1\xa0\x8e"));
  EXPECT_THAT(Find("[^\\s]", "\xe1\xa0\x8e "), ElementsAre("\xe1\xa0\x8e"));
  EXPECT_THAT(Find("\\w+", "a\xcc\x81_1 b"), ElementsAre("a\xcc\x81_1", "b"));
  EXPECT_THAT(Find("\\W", "a\xcc\x81-"), ElementsAre("-"));
  EXPECT_THAT(Find("(?i:'S)", "'s 'S"), ElementsAre("'s", "'S"));
  EXPECT_THAT(Find("[]a]+", "b]a"), ElementsAre("]a"));
  EXPECT_THAT(Find("\\[\\s\\]", "[ ]"), ElementsAre("[ ]"));
}

TEST(Regex, RefusesWhatMeansSomethingElse) {
  const struct {
    const char* pattern;
    const char* message;
  } cases[] = {
      {"\\h+", "pattern \"\\h+\": \\h at offset 0 is not supported"},
      {"[a-z&&[^b]]", "an intersection of classes at offset 4"},
      {"[a[b]]", "a class in a class at offset 2"},
      {"a(?m:.)", "the flag m or s at offset 1"},
      {"(?im)a", "the flag m or s"},
      {"[[:al", "[:"},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(std::string(TranslateOniguruma(test.pattern).status().message()),
                HasSubstr(test.message));
  }
  EXPECT_TRUE(TranslateOniguruma("(?i:a)(?:b)(?=c)(?<n>d)[[:alpha:]]\\").ok());
}

TEST(Regex, RefusesBrokenPatterns) {
  EXPECT_THAT(std::string(Regex::Compile("a(b").status().message()),
              HasSubstr("pattern \"a(b\": missing closing parenthesis at offset 3"));
  EXPECT_FALSE(Regex::Compile("\\").ok());
  EXPECT_FALSE(Regex::Compile("\xff").ok());
  EXPECT_FALSE(Regex::Compile("\\C").ok());
  EXPECT_FALSE(Regex::Compile(std::string(100000, 'a')).ok());
  EXPECT_FALSE(Regex::Compile(std::string(10000, '(')).ok());
}

TEST(Regex, ExponentialPatternsEnd) {
  RegexScratch scratch;
  const auto regex = Regex::Compile("(a+)+b");
  ASSERT_TRUE(regex.ok());
  EXPECT_TRUE(regex->FindAll(std::string(5000, 'a'), scratch).empty());
  // A group under repetition needs stack for each round of it.
  const auto deep = Regex::Compile("(?:a|b)*c");
  ASSERT_TRUE(deep.ok());
  EXPECT_LE(deep->FindAll(std::string(1 << 20, 'a') + "c", scratch).size(), 1u);
}

}  // namespace
}  // namespace strata
