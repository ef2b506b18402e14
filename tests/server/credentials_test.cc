#include "server/credentials.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <string>

namespace strata::server {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kHash(64, 'a');
const std::string kOtherHash = std::string(63, 'a') + "b";

std::string Hex(const TokenHash& hash) {
  std::string hex;
  for (const uint8_t byte : hash) hex += fmt::format("{:02x}", byte);
  return hex;
}

Credentials Parse(const std::string& text) {
  auto credentials = Credentials::Parse(text, "file");
  EXPECT_TRUE(credentials.ok()) << credentials.status();
  return credentials.ok() ? *std::move(credentials) : Credentials();
}

std::string Error(const std::string& text) {
  const auto credentials = Credentials::Parse(text, "file");
  EXPECT_EQ(credentials.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(credentials.status().message());
}

// A tenant with one token, and `more` said of the token.
std::string WithToken(const std::string& more) {
  return "[[tenant]]\nname = \"t\"\n[[tenant.token]]\nname = \"n\"\nsha256 = \"" + kHash + "\"\n" +
         more;
}

TEST(HashToken, IsSha256) {
  EXPECT_EQ(Hex(HashToken("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Credentials, ReadsTenantsAndTheirTokens) {
  const Credentials credentials = Parse(
      "[[tenant]]\n"
      "name = \"vision-group\"\n"
      "noncommercial_use_acknowledged = true\n"
      "weight = 2\n"
      "priority = -3\n"
      "max_running = 4\n"
      "max_queued = 5\n"
      "max_tokens_per_minute = 6_000_000_000\n"
      "isolates_prefixes = true\n"
      "[[tenant.token]]\n"
      "name = \"alice\"\n"
      "sha256 = \"" +
      kHash +
      "\"\n"
      "expires = 2027-06-30\n"
      "[[tenant.token]]\n"
      "name = \"bob\"\n"
      "sha256 = \"" +
      kOtherHash +
      "\"\n"
      "[[tenant]]\n"
      "name = \"Guests_2.x\"\n");
  ASSERT_EQ(credentials.tokens().size(), 2u);
  const Token* alice = credentials.Find(credentials.tokens()[0].hash);
  ASSERT_NE(alice, nullptr);
  EXPECT_EQ(alice->name, "alice");
  EXPECT_TRUE(alice->account->noncommercial_use_acknowledged);
  const Tenant& tenant = alice->account->tenant;
  EXPECT_EQ(tenant.name, "vision-group");
  EXPECT_EQ(tenant.weight, 2);
  EXPECT_EQ(tenant.priority, -3);
  EXPECT_EQ(tenant.max_running, 4);
  EXPECT_EQ(tenant.max_queued, 5);
  EXPECT_EQ(tenant.max_tokens_per_minute, 6'000'000'000);
  EXPECT_TRUE(tenant.isolates_prefixes);
  const Token* bob = credentials.Find(credentials.tokens()[1].hash);
  ASSERT_NE(bob, nullptr);
  EXPECT_EQ(bob->name, "bob");
  EXPECT_EQ(bob->account, alice->account);
  EXPECT_FALSE(bob->expires.has_value());
}

TEST(Credentials, DefaultsToNoLimitsAndNoAcknowledgement) {
  const Token token = Parse(WithToken("")).tokens().at(0);
  EXPECT_FALSE(token.account->noncommercial_use_acknowledged);
  EXPECT_EQ(token.account->tenant.weight, 1);
  EXPECT_EQ(token.account->tenant.max_running, 0);
  EXPECT_EQ(Parse("").tokens().size(), 0u);  // nobody may call: fine
}

TEST(Credentials, LeaveToTheDefaultsWhatTheyDoNotSay) {
  Tenant defaults;
  defaults.max_running = 7;
  defaults.max_queued = 8;
  const auto credentials =
      Credentials::Parse(WithToken("[[tenant]]\nname = \"u\"\n"), "file", defaults);
  ASSERT_TRUE(credentials.ok());
  EXPECT_EQ(credentials->tokens().at(0).account->tenant.name, "t");
  EXPECT_EQ(credentials->tokens().at(0).account->tenant.max_running, 7);
}

TEST(Credentials, ExpireAtTheEndOfADayOrAtATime) {
  const auto expiry = [](const std::string& value) {
    const auto expires = Parse(WithToken("expires = " + value)).tokens().at(0).expires;
    return std::chrono::system_clock::to_time_t(expires.value());
  };
  EXPECT_EQ(expiry("1970-01-01"), 86'400);
  EXPECT_EQ(expiry("2027-02-28"), 1'803'859'200);
  EXPECT_EQ(expiry("1970-01-02T01:02:03Z"), 86'400 + 3723);
  EXPECT_EQ(expiry("1970-01-02T01:02:03+01:00"), 86'400 + 123);
}

TEST(Credentials, FindsWhatIsThereAndNothingElse) {
  std::string text = "[[tenant]]\nname = \"t\"\n";
  for (int i = 0; i < 50; ++i) {
    text += fmt::format("[[tenant.token]]\nname = \"n{}\"\nsha256 = \"{}\"\n", i,
                        Hex(HashToken(fmt::format("token {}", i))));
  }
  const Credentials credentials = Parse(text);
  for (int i = 0; i < 50; ++i) {
    const TokenHash hash = HashToken(fmt::format("token {}", i));
    ASSERT_NE(credentials.Find(hash), nullptr);
    EXPECT_EQ(credentials.Find(hash)->name, fmt::format("n{}", i));
    EXPECT_EQ(credentials.FindKnown(hash), credentials.Find(hash));
    TokenHash other = hash;
    other[i % other.size()] ^= 1;
    EXPECT_EQ(credentials.Find(other), nullptr);
    EXPECT_EQ(credentials.FindKnown(other), nullptr);
  }
}

TEST(Credentials, RefusesWhatItDoesNotUnderstand) {
  EXPECT_THAT(Error("[[tenant]\n"), StartsWith("file:1: "));
  EXPECT_THAT(Error("tenant = 1\n"), HasSubstr("[[tenant]]"));
  EXPECT_THAT(Error("[tenant]\nname = \"t\"\n"), HasSubstr("[[tenant]]"));
  EXPECT_THAT(Error("tenants = []\n"), StartsWith("file:1: no such key: tenants"));
  EXPECT_THAT(Error("[[tenant]]\nname = \"t\"\nwieght = 1\n"),
              StartsWith("file:3: no such key: wieght"));
  EXPECT_THAT(Error(WithToken("expire = 2027-01-01\n")), StartsWith("file:6: no such key: expire"));
  EXPECT_THAT(Error(WithToken("expires = \"2027-01-01\"\n")), HasSubstr("expires: write"));
  EXPECT_THAT(Error(WithToken("expires = 2027-01-01T00:00:00\n")), HasSubstr("expires: write"));
}

TEST(Credentials, RefusesNamesThatAreNone) {
  for (const char* name : {"", "a b", "a\\nb", "a\\u00e9", "{x}"}) {
    EXPECT_THAT(Error(fmt::format("[[tenant]]\nname = \"{}\"\n", name)), HasSubstr("name: "))
        << name;
  }
  EXPECT_THAT(Error("[[tenant]]\nname = \"" + std::string(65, 'x') + "\"\n"), HasSubstr("name: "));
  EXPECT_THAT(Error("[[tenant]]\n"), HasSubstr("name: "));
  EXPECT_THAT(Error("[[tenant]]\nname = 5\n"), HasSubstr("name: "));
}

TEST(Credentials, RefusesHashesThatAreNone) {
  for (const std::string& hash :
       {std::string(), kHash.substr(1), kHash + "a", std::string(64, 'g')}) {
    EXPECT_THAT(Error("[[tenant]]\nname = \"t\"\n[[tenant.token]]\nname = \"n\"\nsha256 = \"" +
                      hash + "\"\n"),
                HasSubstr("sha256: 64"))
        << hash;
  }
}

TEST(Credentials, RefusesTwoOfOne) {
  const std::string tenant = "[[tenant]]\nname = \"t\"\n";
  EXPECT_THAT(Error(tenant + tenant), HasSubstr("a tenant 't' already"));
  const std::string again = "[[tenant.token]]\nname = \"n\"\nsha256 = \"" + kOtherHash + "\"\n";
  EXPECT_THAT(Error(WithToken(again)), HasSubstr("a token 'n' already"));
  std::string upper = kHash;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  EXPECT_THAT(Error(WithToken("[[tenant.token]]\nname = \"m\"\nsha256 = \"" + upper + "\"\n")),
              HasSubstr("another token has the same"));
}

TEST(Credentials, RefusesLimitsOutOfRange) {
  for (const char* line : {"weight = 0", "weight = nan", "weight = \"1\"", "weight = 1e4",
                           "priority = 101", "priority = 1.5", "max_running = -1",
                           "max_queued = true", "max_tokens_per_minute = 9000000000000"}) {
    const std::string error = Error(std::string("[[tenant]]\nname = \"t\"\n") + line + "\n");
    EXPECT_THAT(error, StartsWith("file:3: ")) << line;
    EXPECT_THAT(error, HasSubstr("must be a number in [")) << line;
  }
  EXPECT_THAT(Error("[[tenant]]\nname = \"t\"\nnoncommercial_use_acknowledged = \"yes\"\n"),
              HasSubstr("noncommercial_use_acknowledged: must be true or false"));
}

TEST(Credentials, SaysWhichFileIsMissing) {
  EXPECT_THAT(std::string(Credentials::Read("no/such/file", {}).status().message()),
              HasSubstr("no/such/file"));
  EXPECT_FALSE(Credentials::Read("/", {}).ok());
}

}  // namespace
}  // namespace strata::server
