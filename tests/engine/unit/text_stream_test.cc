// Stop sequences against a reference that sees the whole text at once.

#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/engine/unit/fake_tokenizer.h"

namespace strata {
namespace {

// What one call has sent.
struct Output {
  std::string text;
  std::optional<std::string> matched_stop;
};

// A TextStream that returns what it sends.
class TestStream {
 public:
  TestStream(const Tokenizer* tokenizer, const std::vector<std::string>& stops, bool include)
      : stream_(tokenizer, /*at_text_start=*/false, stops, include) {}

  Output Append(TokenId id) {
    return Call([&](std::string* text) { return stream_.Append(id, text); });
  }
  Output Finish() {
    return Call([&](std::string* text) { return stream_.Finish(text); });
  }
  std::string AppendUnsearched(TokenId id) {
    std::string text;
    stream_.AppendUnsearched(id, &text);
    return text;
  }

 private:
  template <typename Function>
  Output Call(Function function) {
    // What is there already stays.
    std::string text = "before";
    const std::string* stop = function(&text);
    EXPECT_TRUE(text.starts_with("before"));
    return {text.substr(6), stop == nullptr ? std::nullopt : std::optional(*stop)};
  }

  TextStream stream_;
};

struct Outcome {
  std::string text;
  std::optional<std::string> stop;
  bool operator==(const Outcome&) const = default;
};

// The stop that ends first, the longest of those that end together.
Outcome Reference(const std::string& text, const std::vector<std::string>& stops, bool include) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string_view head = std::string_view(text).substr(0, end);
    const std::string* found = nullptr;
    for (const std::string& stop : stops) {
      if (!head.ends_with(stop)) continue;
      if (found == nullptr || stop.size() > found->size()) found = &stop;
    }
    if (found != nullptr) return {text.substr(0, include ? end : end - found->size()), *found};
  }
  return {text, std::nullopt};
}

// How many bytes at the end of `text` might still become part of a stop.
size_t MostHeld(const std::string& text, const std::vector<std::string>& stops) {
  size_t most = 0;
  for (const std::string& stop : stops) {
    for (size_t n = 1; n < stop.size() && n <= text.size(); ++n) {
      if (text.ends_with(stop.substr(0, n))) most = std::max(most, n);
    }
  }
  return most;
}

// Streams `text` in the given pieces, a token each, and checks after each that what was sent is
// the start of what must be sent in the end, and all of it that can be known.
Outcome Stream(const std::vector<std::string>& pieces, const std::vector<std::string>& stops,
               bool include, const Outcome& expected) {
  const FakeTokenizer tokenizer(pieces);
  TestStream stream(&tokenizer, stops, include);
  Outcome outcome;
  std::string bytes;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Output output = stream.Append(static_cast<TokenId>(i));
    outcome.text += output.text;
    outcome.stop = output.matched_stop;
    EXPECT_TRUE(expected.text.starts_with(outcome.text));
    if (outcome.stop) return outcome;
    bytes += pieces[i];
    const std::string known = ReplaceInvalidUtf8(bytes.substr(0, CompleteUtf8Prefix(bytes)));
    EXPECT_EQ(outcome.text.size() + MostHeld(known, stops), known.size());
  }
  const Output rest = stream.Finish();
  outcome.text += rest.text;
  outcome.stop = rest.matched_stop;
  return outcome;
}

TEST(TextStream, WithoutStopsEverythingIsSentAtOnce) {
  const FakeTokenizer tokenizer({"ab", "c", " d"});
  TestStream stream(&tokenizer, {}, false);
  EXPECT_EQ(stream.Append(0).text, "ab");
  EXPECT_EQ(stream.Append(1).text, "c");
  EXPECT_EQ(stream.Append(2).text, " d");
  EXPECT_EQ(stream.Finish().text, "");
}

TEST(TextStream, HoldsBackWhatMayBecomeAStopAndSendsItWhenItDoesNot) {
  const FakeTokenizer tokenizer({"one\n", "\n", "two", "\n\n", "User:"});
  TestStream stream(&tokenizer, {"\n\nUser:"}, false);
  EXPECT_EQ(stream.Append(0).text, "one");
  EXPECT_EQ(stream.Append(1).text, "");
  EXPECT_EQ(stream.Append(2).text, "\n\ntwo");
  EXPECT_EQ(stream.Append(3).text, "");
  const Output last = stream.Append(4);
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.matched_stop, "\n\nUser:");
}

TEST(TextStream, OfSeveralStopsTheOneThatEndsFirstMatches) {
  const FakeTokenizer tokenizer({"xabcd"});
  TestStream longer_later(&tokenizer, {"abcd", "bc"}, false);
  EXPECT_EQ(longer_later.Append(0).matched_stop, "bc");
  TestStream together(&tokenizer, {"c", "abc", "bc"}, false);
  const Output output = together.Append(0);
  EXPECT_EQ(output.matched_stop, "abc");
  EXPECT_EQ(output.text, "x");
}

TEST(TextStream, AStopMayBeCompletedByTheReplacedBytesAtTheEnd) {
  const FakeTokenizer tokenizer({"a\xe2\x82"});
  TestStream stream(&tokenizer, {"\xef\xbf\xbd"}, false);
  EXPECT_EQ(stream.Append(0).text, "a");
  EXPECT_EQ(stream.Finish().matched_stop, "\xef\xbf\xbd");
}

TEST(TextStream, EchoedTextIsNotSearched) {
  const FakeTokenizer tokenizer({"stop", "go", "stop"});
  TestStream stream(&tokenizer, {"stop"}, true);
  EXPECT_EQ(stream.AppendUnsearched(0), "stop");
  EXPECT_EQ(stream.Append(1).text, "go");
  const Output output = stream.Append(2);
  EXPECT_EQ(output.text, "stop");
  EXPECT_EQ(output.matched_stop, "stop");
}

// Few letters, some of several bytes with bytes in common, so that stops nearly occur often.
class RandomTexts {
 public:
  explicit RandomTexts(uint64_t seed) : random_(seed) {}

  int Int(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }
  std::string Text(int max_letters) {
    static const std::vector<std::string> kLetters = {
        "a", "b", "\n", "\xc3\xa9", "\xe2\x82\xac", "\xe2\x82\xad", "\xf0\x9f\x98\x80"};
    std::string text;
    for (int i = Int(1, max_letters); i > 0; --i) text += kLetters[Int(0, 6)];
    return text;
  }
  std::vector<std::string> Cut(const std::string& text) {
    std::vector<std::string> pieces;
    const int longest = Int(1, 6);
    for (size_t at = 0; at < text.size(); at += pieces.back().size()) {
      pieces.push_back(text.substr(at, Int(1, longest)));
    }
    return pieces;
  }
  // A byte that makes the text invalid.
  void Damage(std::string& text) {
    text.insert(text.begin() + Int(0, static_cast<int>(text.size())),
                static_cast<char>(Int(0x80, 0xff)));
  }

 private:
  std::mt19937_64 random_;
};

TEST(TextStream, TheResultDependsOnTheTextNotOnHowTokensCutIt) {
  RandomTexts random(1);
  int matched = 0;
  for (int round = 0; round < 20'000; ++round) {
    SCOPED_TRACE(round);
    std::string text = random.Text(24);
    if (round % 5 == 0) random.Damage(text);
    std::vector<std::string> stops;
    for (int i = random.Int(1, 4); i > 0; --i) stops.push_back(random.Text(4));
    const bool include = round % 2 == 0;
    const Outcome expected = Reference(ReplaceInvalidUtf8(text), stops, include);
    matched += expected.stop.has_value();
    for (int cut = 0; cut < 2; ++cut) {
      const Outcome actual = Stream(random.Cut(text), stops, include, expected);
      ASSERT_EQ(actual.text, expected.text);
      ASSERT_EQ(actual.stop, expected.stop);
      ASSERT_FALSE(HasFailure());
    }
  }
  EXPECT_GT(matched, 5'000);
  EXPECT_LT(matched, 19'000);
}

}  // namespace
}  // namespace strata
