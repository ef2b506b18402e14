#include "engine/checkpoint/json_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/checkpoint/temporary_folder.h"

namespace strata {
namespace {

using ::testing::HasSubstr;

std::string Repeat(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

std::string ErrorOf(const std::string& text) {
  const auto parsed = ParseJsonObject(text, "some.json");
  return parsed.ok() ? "" : std::string(parsed.status().message());
}

TEST(JsonFile, ParsesWhatNlohmannParses) {
  const std::string text =
      R"({"a": [1, -2, 2.5, true, false, null, "x\u00e9", {}, []], "b": {"c": {"d": [[0]]}}, "e": 18446744073709551615})";
  const auto parsed = ParseJsonObject(text, "some.json");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, nlohmann::json::parse(text));
}

TEST(JsonFile, NamesTheSourceAndTheProblem) {
  EXPECT_THAT(ErrorOf("{\"a\": }"), HasSubstr("some.json: not valid JSON: parse error at line 1"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("{} trailing"), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("{\"a\": 1e999}"), HasSubstr("number overflow"));
  EXPECT_THAT(ErrorOf("{\"\xff\": 1}"), HasSubstr("ill-formed UTF-8"));
  EXPECT_THAT(ErrorOf("[1]"), HasSubstr("holds a JSON array, expected an object"));
}

TEST(JsonFile, RefusesEqualKeys) {
  EXPECT_THAT(ErrorOf(R"({"a": {"k": 1, "l": 2, "k": 3}})"), HasSubstr("key \"k\" appears twice"));
  EXPECT_EQ(ErrorOf(R"({"a": {"k": 1}, "b": {"k": 1}})"), "");
}

TEST(JsonFile, RefusesDepthBombs) {
  EXPECT_THAT(ErrorOf("{\"a\":" + Repeat("[", 1000000)), HasSubstr("nested deeper than 32 levels"));
  EXPECT_THAT(ErrorOf(Repeat("{\"a\":", 1000000)), HasSubstr("nested deeper than 32 levels"));
  const auto nested = [](size_t depth) {  // the object is a level too
    return "{\"a\":" + Repeat("[", depth - 1) + Repeat("]", depth - 1) + "}";
  };
  EXPECT_EQ(ErrorOf(nested(kMaxJsonDepth)), "");
  EXPECT_THAT(ErrorOf(nested(kMaxJsonDepth + 1)), HasSubstr("nested deeper than 32 levels"));
}

TEST(JsonFile, RefusesTooManyValues) {
  EXPECT_THAT(ErrorOf("{\"a\":[" + Repeat("0,", kMaxJsonValues) + "0]}"), HasSubstr("more than"));
}

TEST(JsonFile, MessagesArePrintableAndShort) {
  const std::string error = ErrorOf("{\"a\": \"\x01" + std::string(100000, 'x') + "\xff\"}");
  EXPECT_LT(error.size(), 400u);
  for (const char c : error) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

TEST(JsonFile, ReadsRegularFilesOnly) {
  const TemporaryFolder folder;
  EXPECT_TRUE(absl::IsNotFound(ReadJsonFile(folder.path() + "/none.json").status()));
  EXPECT_THAT(std::string(ReadJsonFile(folder.path()).status().message()),
              HasSubstr("not a regular file"));
  WriteFile(folder.path() + "/some", "12345");
  EXPECT_EQ(*ReadWholeFile(folder.path() + "/some", 5), "12345");
  EXPECT_THAT(std::string(ReadWholeFile(folder.path() + "/some", 4).status().message()),
              HasSubstr("5 bytes, more than the limit of 4"));
}

}  // namespace
}  // namespace strata
