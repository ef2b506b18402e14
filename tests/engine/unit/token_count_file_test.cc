#include "engine/token_count_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/support/token_counts_file.h"

namespace strata {
namespace {

using testing::ElementsAre;

std::vector<double> Read(std::string_view content) {
  const TokenCountsFile file(content);
  const auto counts = ReadTokenCounts(file.path(), 4);
  EXPECT_TRUE(counts.ok()) << counts.status();
  return counts.value_or(std::vector<double>());
}

// The error's text after the file's path.
std::string ErrorOf(std::string_view content) {
  const TokenCountsFile file(content);
  const absl::Status status = ReadTokenCounts(file.path(), 4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  const std::string message(status.message());
  EXPECT_EQ(message.substr(0, file.path().size()), file.path());
  return message.substr(file.path().size());
}

TEST(TokenCountFile, HoldsATokenAndItsCountALine) {
  EXPECT_THAT(Read("2 10\n0 3\n"), ElementsAre(3, 0, 10, 0));
  EXPECT_THAT(Read("3 0"), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(Read("1 9223372036854775807\n"), ElementsAre(0, 0x1p63, 0, 0));
}

TEST(TokenCountFile, MayHaveBlanksAndEmptyLines) {
  EXPECT_THAT(Read("\n  1\t 2  \r\n \r\n\n3 4\r\n"), ElementsAre(0, 2, 0, 4));
}

TEST(TokenCountFile, ErrorsNameTheLine) {
  EXPECT_EQ(ErrorOf("0 1\n1\n"), ":2: \"1\" is not a token id and its count, two whole numbers");
  EXPECT_EQ(ErrorOf("\n\n0 1 2"),
            ":3: \"0 1 2\" is not a token id and its count, two whole numbers");
  EXPECT_EQ(ErrorOf("a 1\n"), ":1: \"a 1\" is not a token id and its count, two whole numbers");
  EXPECT_EQ(ErrorOf("1 1.5\n"), ":1: \"1 1.5\" is not a token id and its count, two whole numbers");
  EXPECT_EQ(ErrorOf("1 99999999999999999999\n"),
            ":1: \"1 99999999999999999999\" is not a token id and its count, two whole numbers");
  EXPECT_EQ(ErrorOf("0 1\n4 1\n"), ":2: token id 4 is out of range [0, 3]");
  EXPECT_EQ(ErrorOf("-1 1\n"), ":1: token id -1 is out of range [0, 3]");
  EXPECT_EQ(ErrorOf("1 -1\n"), ":1: count -1 is negative");
  EXPECT_EQ(ErrorOf("1 5\n0 1\n1 6\n"), ":3: token id 1 has a count in line 1 already");
}

TEST(TokenCountFile, BytesOfAnyKindAreAnError) {
  EXPECT_EQ(ErrorOf(std::string_view("\0\x7f\xff", 3)),
            ":1: \"???\" is not a token id and its count, two whole numbers");
}

TEST(TokenCountFile, MustHoldSomething) {
  EXPECT_EQ(ErrorOf(""), ": holds no token counts");
  EXPECT_EQ(ErrorOf(" \n\n"), ": holds no token counts");
}

TEST(TokenCountFile, MustExist) {
  const absl::Status status = ReadTokenCounts("no/such/file", 4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(std::string(status.message()), "no/such/file: no such file");
}

}  // namespace
}  // namespace strata
