#include "engine/checkpoint/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/engine/checkpoint/checkpoint_writer.h"
#include "tests/engine/checkpoint/temporary_folder.h"

namespace strata {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SafetensorsTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(std::string_view content) {
    WriteFile(path_, content);
    return SafetensorsFile::Open(path_);
  }
  std::string ErrorOf(std::string_view content) {
    const auto file = Open(content);
    if (file.ok()) return "no error";
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
    const std::string message(file.status().message());
    EXPECT_THAT(message, HasSubstr(path_));
    EXPECT_LT(message.size(), 600u);
    return message;
  }
  // With two tensors of 16 bytes, or what the arguments say instead.
  std::string ErrorOfEntries(const std::string& a, const std::string& b, size_t data_bytes = 32) {
    return ErrorOf(SerializeSafetensors(fmt::format("{{\"a\":{},\"b\":{}}}", a, b),
                                        std::string(data_bytes, '\1')));
  }

  TemporaryFolder folder_;
  std::string path_ = folder_.path() + "/some.safetensors";
};

constexpr char kGoodA[] = R"({"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})";
constexpr char kGoodB[] = R"({"dtype":"BF16","shape":[8],"data_offsets":[16,32]})";

TEST_F(SafetensorsTest, FindsTensors) {
  const auto file = Open(SerializeSafetensors({{"x", "F32", {2, 1}, "AAAABBBB"},
                                               {"scalar", "I64", {}, "12345678"},
                                               {"empty", "F16", {0, 5}, ""},
                                               {"new", "F4_E2M1", {3}, "xy"}}));
  ASSERT_TRUE(file.ok()) << file.status();
  const SafetensorsEntry* x = (*file)->Find("x");
  ASSERT_NE(x, nullptr);
  EXPECT_EQ(x->dtype, "F32");
  EXPECT_THAT(x->shape, ElementsAre(2, 1));
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(x->data), x->size_bytes), "AAAABBBB");
  EXPECT_EQ((*file)->Find("scalar")->size_bytes, 8u);
  EXPECT_EQ((*file)->Find("empty")->size_bytes, 0u);
  EXPECT_EQ((*file)->Find("new")->size_bytes, 2u);
  EXPECT_EQ((*file)->Find("y"), nullptr);
}

TEST_F(SafetensorsTest, OpensRegularFilesOnly) {
  EXPECT_TRUE(absl::IsNotFound(SafetensorsFile::Open(path_).status()));
  EXPECT_THAT(std::string(SafetensorsFile::Open(folder_.path()).status().message()),
              HasSubstr("not a regular file"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("the file is empty"));
}

TEST_F(SafetensorsTest, RefusesBadHeaders) {
  const std::string good = SerializeSafetensors({{"x", "F32", {2}, "AAAABBBB"}});
  EXPECT_EQ(ErrorOf(good), "no error");
  EXPECT_THAT(ErrorOf(good.substr(0, 5)), HasSubstr("5 bytes are too few"));
  EXPECT_THAT(ErrorOf(good.substr(0, 20)), HasSubstr("but only 12 follow"));
  EXPECT_THAT(ErrorOf(good.substr(0, good.size() - 1)),
              HasSubstr("tensor \"x\": data offsets [0, 8) do not lie in the 7 bytes of data"));
  EXPECT_THAT(ErrorOf(std::string("\0\0\0\0\0\x10\0\0", 8) + good.substr(8)),
              HasSubstr("the header claims 17592186044416 bytes, more than the format's limit"));
  EXPECT_THAT(ErrorOf(std::string(8, '\xff') + good.substr(8)),
              HasSubstr("the header claims 18446744073709551615 bytes"));
  EXPECT_THAT(ErrorOf(SerializeSafetensors("", "")), HasSubstr("header: not valid JSON"));
  EXPECT_THAT(ErrorOf(SerializeSafetensors("not json", "")), HasSubstr("header: not valid JSON"));
  EXPECT_THAT(ErrorOf(SerializeSafetensors("[]", "")), HasSubstr("expected an object"));
  EXPECT_THAT(ErrorOf(SerializeSafetensors(std::string(1000000, '['), "")),
              HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf(SerializeSafetensors("{\"a\":" + std::string(1000000, '['), "")),
              HasSubstr("nested deeper than"));
  EXPECT_THAT(ErrorOf(SerializeSafetensors(fmt::format("{{\"a\":{},\"a\":{}}}", kGoodA, kGoodB),
                                           std::string(32, '\1'))),
              HasSubstr("key \"a\" appears twice"));
}

TEST_F(SafetensorsTest, RefusesBadEntries) {
  EXPECT_EQ(ErrorOfEntries(kGoodA, kGoodB), "no error");
  const struct {
    const char* entry;  // of "b"
    const char* message;
  } cases[] = {
      {R"([])", "its entry is [], not an object"},
      {R"({"shape":[8],"data_offsets":[16,32]})", "no dtype string"},
      {R"({"dtype":5,"shape":[8],"data_offsets":[16,32]})", "no dtype string"},
      {R"({"dtype":"BF16","data_offsets":[16,32]})", "no shape array"},
      {R"({"dtype":"BF16","shape":8,"data_offsets":[16,32]})", "no shape array"},
      {R"({"dtype":"BF16","shape":[-8],"data_offsets":[16,32]})", "dimension -8 of the shape"},
      {R"({"dtype":"BF16","shape":[8.0],"data_offsets":[16,32]})", "dimension 8.0 of the shape"},
      {R"({"dtype":"BF16","shape":["8"],"data_offsets":[16,32]})", "dimension \"8\" of the shape"},
      {R"({"dtype":"BF16","shape":[18446744073709551615],"data_offsets":[16,32]})",
       "dimension 184"},
      {R"({"dtype":"BF16","shape":[1,1,1,1,1,1,1,1,8],"data_offsets":[16,32]})", "9 dimensions"},
      {R"({"dtype":"BF16","shape":[4294967296,4294967296,2],"data_offsets":[16,32]})", "overflows"},
      {R"({"dtype":"BF16","shape":[9223372036854775807,2],"data_offsets":[16,32]})", "overflows"},
      {R"({"dtype":"BF16","shape":[7],"data_offsets":[16,32]})",
       "shape [7] of BF16 needs 14 bytes, data_offsets give 16"},
      {R"({"dtype":"F32","shape":[8],"data_offsets":[16,32]})", "needs 32 bytes"},
      {R"({"dtype":"BF16","shape":[0],"data_offsets":[16,32]})", "needs 0 bytes"},
      {R"({"dtype":"BF16","shape":[8]})", "no data_offsets pair"},
      {R"({"dtype":"BF16","shape":[8],"data_offsets":[16]})", "no data_offsets pair"},
      {R"({"dtype":"BF16","shape":[8],"data_offsets":[16,32,48]})", "no data_offsets pair"},
      {R"({"dtype":"BF16","shape":[8],"data_offsets":[-16,0]})",
       "data offset -16 is not a position"},
      {R"({"dtype":"BF16","shape":[8],"data_offsets":[1.5,32]})", "data offset 1.5 is not"},
      {R"({"dtype":"BF16","shape":[8],"data_offsets":[32,16]})",
       "data offsets [32, 16) do not lie"},
      {R"({"dtype":"BF16","shape":[8],"data_offsets":[16,33]})", "do not lie in the 32 bytes"},
      {R"({"dtype":"BF16","shape":[8],"data_offsets":[18446744073709551600,18446744073709551615]})",
       "do not lie in the 32 bytes"},
      {R"({"dtype":"BF16","shape":[8],"data_offsets":[8,24]})",
       "its data, from offset 8, overlaps another tensor's"},
      {R"({"dtype":"BF16","shape":[8],"data_offsets":[0,16]})", "overlaps another tensor's"},
      {R"({"dtype":"BF16","shape":[4],"data_offsets":[24,32]})", "8 bytes before its data belong"},
      {R"({"dtype":"BF16","shape":[4],"data_offsets":[16,24]})", "the last 8 bytes belong to no"},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(ErrorOfEntries(kGoodA, test.entry), HasSubstr(test.message)) << test.entry;
  }
}

TEST_F(SafetensorsTest, MessagesShowHostileNamesSafely) {
  const std::string error =
      ErrorOf(SerializeSafetensors("{\"\\u001b[2J" + std::string(5000, 'x') + "\":{}}", ""));
  EXPECT_THAT(error, HasSubstr("tensor \"?[2Jxxx"));
}

// Reads all that Open has let through: a range outside the file would fault or be reported by ASan.
uint64_t SumOf(const SafetensorsFile& file, const std::vector<std::string>& names) {
  uint64_t sum = 0;
  for (const std::string& name : names) {
    const SafetensorsEntry* entry = file.Find(name);
    for (uint64_t i = 0; entry != nullptr && i < entry->size_bytes; ++i) {
      sum += static_cast<uint64_t>(entry->data[i]);
    }
  }
  return sum;
}

TEST_F(SafetensorsTest, SurvivesMutatedHeaders) {
  const std::string good = SerializeSafetensors(
      {{"a", "F32", {2, 2}, std::string(16, '\1')}, {"b", "BF16", {8}, std::string(16, '\2')}});
  const size_t header_end = good.size() - 32;
  std::mt19937 random(7);
  constexpr std::string_view kLikely = "0123456789-[]{},:\"eE. ";
  int num_accepted = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string bad = good;
    for (uint32_t edits = 1 + random() % 4; edits > 0; --edits) {
      const char byte =
          random() % 2 ? kLikely[random() % kLikely.size()] : static_cast<char>(random());
      const size_t at = random() % header_end;
      switch (random() % 4) {
        case 0:
          bad.insert(at, 1, byte);
          break;
        case 1:
          bad.erase(at, 1 + random() % 3);
          break;
        default:
          bad[at] = byte;
      }
    }
    if (random() % 8 == 0) bad.resize(random() % bad.size());
    const auto file = Open(bad);
    if (!file.ok()) continue;
    ++num_accepted;
    EXPECT_LE(SumOf(**file, {"a", "b"}), 32u * 255u);
  }
  // Some edits are harmless (padding, metadata); most are not.
  EXPECT_GT(num_accepted, 0);
  EXPECT_LT(num_accepted, 2500);
}

}  // namespace
}  // namespace strata
