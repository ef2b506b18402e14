#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/checkpoint/temporary_folder.h"
#include "tests/engine/checkpoint/tokenizer_writer.h"

namespace strata {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kVocabSize = 4096;

class SentencePieceTest : public ::testing::Test {
 protected:
  std::string ErrorOf(std::string_view model, int vocab_size = kVocabSize) {
    WriteFile(folder_.path() + "/tokenizer.model", model);
    const auto tokenizer = Tokenizer::Open(folder_.path(), vocab_size);
    if (tokenizer.ok()) return "no error";
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(tokenizer.status().message());
  }
  std::vector<TokenId> EncodeWith(const std::string& config) {
    WriteFile(folder_.path() + "/tokenizer.model", demo_);
    WriteFile(folder_.path() + "/tokenizer_config.json", config);
    const auto tokenizer = Tokenizer::Open(folder_.path(), kVocabSize);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return (*tokenizer)->Encode("", /*add_special_tokens=*/true);
  }

  TemporaryFolder folder_;
  std::string demo_ = ReadFile(STRATA_SOURCE_DIR "/models/demo/tokenizer.model");
};

TEST_F(SentencePieceTest, DescribesItsTokens) {
  const auto opened = Tokenizer::Open(STRATA_SOURCE_DIR "/models/demo", kVocabSize);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const Tokenizer& tokenizer = **opened;
  EXPECT_TRUE(tokenizer.StripsLeadingSpace());
  EXPECT_EQ(tokenizer.Piece(0), "<unk>");
  EXPECT_TRUE(tokenizer.IsSpecial(0));
  EXPECT_EQ(tokenizer.TokenBytes(0), " \xe2\x81\x87 ");  // as sentencepiece decodes it
  EXPECT_EQ(tokenizer.Piece(1), "<s>");
  EXPECT_TRUE(tokenizer.IsSpecial(1));
  EXPECT_EQ(tokenizer.TokenBytes(1), "");
  EXPECT_EQ(tokenizer.Piece(3), "<0x00>");
  EXPECT_EQ(tokenizer.TokenBytes(3), std::string_view("\0", 1));
  EXPECT_EQ(tokenizer.Piece(3 + 0xf0), "<0xF0>");
  EXPECT_EQ(tokenizer.TokenBytes(3 + 0xf0), "\xf0");
  EXPECT_EQ(tokenizer.Piece(259), "\xe2\x96\x81\xe2\x96\x81");
  EXPECT_EQ(tokenizer.TokenBytes(259), "  ");
}

TEST_F(SentencePieceTest, ConfigSaysWhatGoesAroundAPrompt) {
  EXPECT_THAT(EncodeWith("{}"), ElementsAre(1));
  EXPECT_THAT(EncodeWith(R"({"add_bos_token": true})"), ElementsAre(1));
  EXPECT_THAT(EncodeWith(R"({"add_bos_token": false})"), ElementsAre());
  EXPECT_THAT(EncodeWith(R"({"add_eos_token": true})"), ElementsAre(1, 2));
  WriteFile(folder_.path() + "/tokenizer_config.json", R"({"add_bos_token": "yes"})");
  EXPECT_THAT(ErrorOf(demo_), HasSubstr("add_bos_token is \"yes\", expected true or false"));
}

TEST_F(SentencePieceTest, IsPreferredToTokenizerJson) {
  WriteByteTokenizer(folder_.path());
  EXPECT_EQ(ErrorOf(demo_), "no error");
  EXPECT_THAT(ErrorOf("not a model"), HasSubstr("tokenizer.model: not a sentencepiece model"));
}

TEST_F(SentencePieceTest, NeedsATokenizer) {
  EXPECT_TRUE(absl::IsNotFound(Tokenizer::Open(folder_.path(), kVocabSize).status()));
}

TEST_F(SentencePieceTest, RefusesBrokenModels) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("not a sentencepiece model"));
  EXPECT_THAT(ErrorOf(std::string(100, '\xff')), HasSubstr("not a sentencepiece model"));
  EXPECT_THAT(ErrorOf("IQ== 0\nIg== 1\n"), HasSubstr("not a sentencepiece model"));
  EXPECT_THAT(ErrorOf(demo_, 4095),
              HasSubstr("has 4096 tokens, more than the model's vocab_size of 4095"));
  EXPECT_EQ(ErrorOf(demo_, 5000), "no error");
  for (size_t size = 1; size < demo_.size(); size += demo_.size() / 50) {
    ErrorOf(std::string_view(demo_).substr(0, size));
  }
}

}  // namespace
}  // namespace strata
