// What a tokenizer.json may say, and what is refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/checkpoint/temporary_folder.h"
#include "tests/engine/checkpoint/tokenizer_writer.h"

namespace strata {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class BpeDefinitionTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const json& definition, int vocab_size = 300) {
    WriteFile(folder_.path() + "/tokenizer.json", definition.dump());
    return Tokenizer::Open(folder_.path(), vocab_size);
  }
  std::unique_ptr<Tokenizer> OpenGood(const json& definition) {
    auto tokenizer = Open(definition);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
  }
  // The byte tokenizer with `value` at `path`.
  static json With(const char* path, const json& value) {
    json definition = ByteTokenizerJson();
    definition[json::json_pointer(path)] = value;
    return definition;
  }

  TemporaryFolder folder_;
};

TEST_F(BpeDefinitionTest, BytesAreTheSmallestVocabulary) {
  const auto tokenizer = OpenGood(ByteTokenizerJson());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->Encode("a\xc3\xa9 ", false), ElementsAre('a', 0xc3, 0xa9, ' '));
  EXPECT_THAT(tokenizer->Encode("a<eos>", true), ElementsAre(256, 'a', 257));
  EXPECT_EQ(tokenizer->bos_token_id(), 256);
  EXPECT_EQ(tokenizer->TokenBytes(0xc3), "\xc3");
  EXPECT_EQ(tokenizer->Piece(' '), "\xc4\xa0");
  EXPECT_EQ(tokenizer->TokenBytes(257), "");
  EXPECT_EQ(tokenizer->Piece(257), "<eos>");
  EXPECT_TRUE(tokenizer->IsSpecial(257));
  EXPECT_FALSE(tokenizer->IsSpecial('a'));
  // Bytes that the caller should have refused do no harm.
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("a\xff\xc3", false)), "a\xef\xbf\xbd\xef\xbf\xbd");
}

TEST_F(BpeDefinitionTest, BosIsTheConfiguredOne) {
  for (const json& bos : {json("<eos>"), json{{"content", "<eos>"}}}) {
    WriteFile(folder_.path() + "/tokenizer_config.json", json{{"bos_token", bos}}.dump());
    EXPECT_EQ(OpenGood(ByteTokenizerJson())->bos_token_id(), 257);
  }
  WriteFile(folder_.path() + "/tokenizer_config.json", "{\"bos_token\": null}");
  EXPECT_EQ(OpenGood(ByteTokenizerJson())->bos_token_id(), 256);
  EXPECT_EQ(OpenGood(With("/post_processor", nullptr))->bos_token_id(), std::nullopt);
}

TEST_F(BpeDefinitionTest, MergesComeAsStringsOrPairs) {
  json definition = ByteTokenizerJson();
  definition["model"]["vocab"]["ab"] = 260;
  definition["model"]["vocab"]["abc"] = 261;
  definition["model"]["vocab"]["bc"] = 262;
  definition["model"]["merges"] = {"a b", {"ab", "c"}, "b c"};
  const auto tokenizer = OpenGood(definition);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->Encode("abc", false), ElementsAre(261));
  EXPECT_THAT(tokenizer->Encode("bcab", false), ElementsAre(262, 260));
  EXPECT_EQ(tokenizer->Piece(258), "");
  EXPECT_EQ(tokenizer->TokenBytes(259), "");
}

TEST_F(BpeDefinitionTest, IgnoreMergesTakesWholeWords) {
  json definition = ByteTokenizerJson();
  definition["model"]["vocab"]["abc"] = 260;
  EXPECT_THAT(OpenGood(definition)->Encode("abc", false), ElementsAre('a', 'b', 'c'));
  definition["model"]["ignore_merges"] = true;
  EXPECT_THAT(OpenGood(definition)->Encode("abc", false), ElementsAre(260));
  EXPECT_THAT(OpenGood(definition)->Encode("abcd", false), ElementsAre('a', 'b', 'c', 'd'));
}

TEST_F(BpeDefinitionTest, AddedTokensThatAreNotSpecialHaveText) {
  json definition = ByteTokenizerJson();
  definition["added_tokens"].push_back({{"id", 260}, {"content", "d\xc3\xa9"}});
  definition["added_tokens"].push_back({{"id", 261}, {"content", "<bos"}});
  const auto tokenizer = OpenGood(definition);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->Encode("xd\xc3\xa9y", false), ElementsAre('x', 260, 'y'));
  EXPECT_EQ(tokenizer->TokenBytes(260), "d\xc3\xa9");
  EXPECT_FALSE(tokenizer->IsSpecial(260));
  // Tokens that are not normalized are sought first.
  EXPECT_THAT(tokenizer->Encode("<bos<bos>", false), ElementsAre(261, 256));
}

TEST_F(BpeDefinitionTest, TemplateMayHaveASuffix) {
  json definition = ByteTokenizerJson();
  json& processor = definition["post_processor"];
  processor["single"].push_back({{"SpecialToken", {{"id", "<eos>"}}}});
  processor["special_tokens"]["<eos>"] = {{"ids", {257}}};
  EXPECT_THAT(OpenGood(definition)->Encode("a", true), ElementsAre(256, 'a', 257));
  EXPECT_THAT(OpenGood(definition)->Encode("a", false), ElementsAre('a'));
}

TEST_F(BpeDefinitionTest, RefusesWithOneClearMessage) {
  const struct {
    json definition;
    const char* message;
  } cases[] = {
      {With("/model/type", "WordPiece"), "model.type is \"WordPiece\", expected \"BPE\""},
      {With("/model/type", "Unigram"), "model.type is \"Unigram\", expected \"BPE\""},
      {With("/model", nullptr), "no model object"},
      {With("/model/vocab", json::array()), "no model.vocab object"},
      {With("/model/vocab/a", 300), "token \"a\" has id 300, expected one below"},
      {With("/model/vocab/a", -1), "token \"a\" has id -1, expected"},
      {With("/model/vocab/a", 98), "tokens \"a\" and \"b\" have the same id, 98"},
      {With("/model/vocab/a", "97"), "token \"a\" has id \"97\""},
      {With("/model/vocab/", 299), "model.vocab has an empty token"},
      {With("/model/merges", nullptr), "no model.merges array"},
      {With("/model/merges/0", "a"), "model.merges[0] is \"a\", expected two tokens"},
      {With("/model/merges/0", "a b c"), "model.merges[0] is \"a b c\", expected two tokens"},
      {With("/model/merges/0", {"a"}), "model.merges[0] is [\"a\"], expected a pair"},
      {With("/model/merges/0", "a b"), "model.merges[0] is \"a b\", but one of the two"},
      {With("/model/byte_fallback", true), "copy the checkpoint's tokenizer.model instead"},
      {With("/model/dropout", 0.1), "model.dropout is 0.1, expected null or 0"},
      {With("/model/end_of_word_suffix", "</w>"), "model.end_of_word_suffix is \"</w>\""},
      {With("/model/continuing_subword_prefix", "##"), "continuing_subword_prefix is \"##\""},
      {With("/normalizer", {{"type", "NFC"}}), "normalizer is {\"type\":\"NFC\"}, expected null"},
      {With("/decoder", nullptr), "decoder is null, expected a decoder of type \"ByteLevel\""},
      {With("/decoder", {{"type", "Metaspace"}}), "decoder is {\"type\":\"Metaspace\"}"},
      {With("/decoder", {{"type", 5}}), "decoder is {\"type\":5}"},
      {With("/pre_tokenizer", nullptr), "pre_tokenizer has no ByteLevel"},
      {With("/pre_tokenizer", {{"type", "Metaspace"}}), "pre_tokenizer.type is \"Metaspace\""},
      {With("/pre_tokenizer", {{"type", "Digits"}}), "pre_tokenizer has no ByteLevel"},
      {With("/pre_tokenizer/add_prefix_space", true), "add_prefix_space is true, expected false"},
      {With("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {1}}}), "expected objects"},
      {With("/pre_tokenizer", {{"type", "Split"}}), "pre_tokenizer.pattern is null"},
      {With("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "("}}}}),
       "tokenizer.json: pre_tokenizer.pattern \"(\": missing closing parenthesis"},
      {With("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "[a&&b]"}}}}),
       "an intersection of classes"},
      {With("/pre_tokenizer",
            {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "MergedWithNext"}}),
       "pre_tokenizer.behavior is \"MergedWithNext\", expected \"Isolated\" or \"Removed\""},
      {With("/post_processor", {{"type", "RobertaProcessing"}}), "post_processor.type is "},
      {With("/post_processor", "x"), "post_processor is \"x\", expected an object or null"},
      {With("/post_processor/single", json::array()), "expected a Sequence among its parts"},
      {With("/post_processor/special_tokens", nullptr), "expected ids of \"<bos>\""},
      {With("/post_processor/special_tokens/<bos>/ids", {258}),
       "expected ids of tokens, below 258"},
      {With("/added_tokens", "x"), "added_tokens is \"x\", expected an array"},
      {With("/added_tokens/0", 5), "added_tokens is 5, expected objects"},
      {With("/added_tokens/0/id", 1000), "token \"<bos>\" has id 1000, expected one below"},
      {With("/added_tokens/0/id", nullptr), "token \"<bos>\" has id null"},
      {With("/added_tokens/0/id", 97), "tokens \"a\" and \"<bos>\" have the same id, 97"},
      {With("/added_tokens/0/content", "a"), "token \"a\" has two ids, 97 and 256"},
      {With("/added_tokens/0/content", ""), "added_tokens.content is \"\", expected a string"},
      {With("/added_tokens/0/content", std::string(2000, 'x')), "expected a string of 1 to 1024"},
      {With("/added_tokens/0/lstrip", true), "\"<bos>\" has lstrip true, expected false"},
      {With("/added_tokens/0/rstrip", true), "\"<bos>\" has rstrip true, expected false"},
      {With("/added_tokens/0/single_word", true), "\"<bos>\" has single_word true"},
  };
  for (const auto& test : cases) {
    const auto tokenizer = Open(test.definition);
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument) << test.message;
    const std::string message(tokenizer.status().message());
    EXPECT_THAT(message, HasSubstr(test.message));
    EXPECT_THAT(message, HasSubstr(folder_.path() + "/tokenizer.json: "));
    EXPECT_LT(message.size(), 500u);
  }
}

TEST_F(BpeDefinitionTest, RefusesVocabulariesThatLackABytesToken) {
  json definition = ByteTokenizerJson();
  definition["model"]["vocab"].erase("a");
  EXPECT_THAT(std::string(Open(definition).status().message()),
              HasSubstr("lacks the token of byte 0x61"));
}

TEST_F(BpeDefinitionTest, RefusesIdsBeyondTheModels) {
  EXPECT_TRUE(Open(ByteTokenizerJson(), kByteTokenizerSize).ok());
  EXPECT_THAT(std::string(Open(ByteTokenizerJson(), 257).status().message()),
              HasSubstr("token \"<eos>\" has id 257, expected one below the model's vocab_size of "
                        "257"));
}

TEST_F(BpeDefinitionTest, SurvivesMutatedFiles) {
  const std::string good = ByteTokenizerJson().dump();
  std::mt19937 random(9);
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits) {
      // Most of the file is the vocabulary: prefer the rest.
      const size_t at = random() % (random() % 2 ? 1000 : bad.size());
      bad[at] = static_cast<char>(random() % 2 ? ' ' + random() % 95 : random());
    }
    WriteFile(folder_.path() + "/tokenizer.json", bad);
    const auto tokenizer = Tokenizer::Open(folder_.path(), 300);
    if (tokenizer.ok()) (*tokenizer)->Decode((*tokenizer)->Encode("some text <bos> 1", true));
  }
}

}  // namespace
}  // namespace strata
