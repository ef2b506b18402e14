#include "server/authenticator.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/live_calls.h"

namespace strata::server {
namespace {

using ::testing::HasSubstr;

constexpr char kMethod[] = "strata.v1.Inference/Generate";

// One tenant whose tokens are these.
Credentials Make(const std::vector<std::string>& tokens, const std::string& more = "") {
  std::string text = "[[tenant]]\nname = \"lab\"\n";
  for (const std::string& token : tokens) {
    text += fmt::format("[[tenant.token]]\nname = \"{}\"\nsha256 = \"", token);
    for (const uint8_t byte : HashToken(token)) text += fmt::format("{:02x}", byte);
    text += "\"\n" + more;
  }
  return Credentials::Parse(text, "file").value();
}

std::string Failure(const Authenticator& authenticator, std::optional<std::string_view> header,
                    std::string_view method = kMethod) {
  const auto caller = authenticator.Authenticate(header, method);
  EXPECT_EQ(caller.status().code(), absl::StatusCode::kUnauthenticated);
  return std::string(caller.status().message());
}

TEST(Authenticator, KnowsCallersByTheirToken) {
  const Authenticator authenticator(Make({"one", "two"}), {});
  const auto caller = authenticator.Authenticate("Bearer two", kMethod);
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(caller->token()->name, "two");
  EXPECT_EQ(caller->tenant().name, "lab");
  EXPECT_TRUE(authenticator.Authenticate("bearer one", kMethod).ok());  // RFC 7235: any case
}

TEST(Authenticator, RefusesEverythingElse) {
  const Authenticator authenticator(Make({"one"}), {});
  EXPECT_THAT(Failure(authenticator, std::nullopt), HasSubstr("asks for a token"));
  for (const char* header : {"", "Bearer", "Bearer ", "one", "Basic one", "Bearerone"}) {
    EXPECT_THAT(Failure(authenticator, header), HasSubstr("asks for a token")) << header;
  }
  for (const char* header : {"Bearer two", "Bearer one ", "Bearer  one", "Bearer One"}) {
    EXPECT_THAT(Failure(authenticator, header), HasSubstr("does not know")) << header;
  }
}

TEST(Authenticator, LetsEverybodyInWithoutCredentials) {
  const Authenticator authenticator;
  const auto caller = authenticator.Authenticate("Bearer whatever", kMethod);
  ASSERT_TRUE(caller.ok());
  EXPECT_EQ(caller->token(), nullptr);
  EXPECT_EQ(caller->tenant().name, "");
}

TEST(Authenticator, AsksForNoTokenWhereAMethodIsOpen) {
  const Authenticator authenticator(Make({"one"}), {"a.Open", "b.Half/Open"});
  EXPECT_TRUE(authenticator.Authenticate(std::nullopt, "a.Open/Anything").ok());
  EXPECT_TRUE(authenticator.Authenticate("Bearer stale", "b.Half/Open").ok());
  const auto caller = authenticator.Authenticate("Bearer one", "b.Half/Open");
  ASSERT_TRUE(caller.ok());
  EXPECT_EQ(caller->tenant().name, "lab");
  Failure(authenticator, std::nullopt, "b.Half/Shut");
  Failure(authenticator, std::nullopt, "a.Ope/n");
  Failure(authenticator, std::nullopt, "a.Open2/x");
}

TEST(Authenticator, TokensExpire) {
  WallTime now = std::chrono::system_clock::from_time_t(86'399);
  const Authenticator authenticator(Make({"one"}, "expires = 1970-01-01\n"), {},
                                    [&now] { return now; });
  const auto caller = authenticator.Authenticate("Bearer one", kMethod);
  ASSERT_TRUE(caller.ok());
  EXPECT_TRUE(authenticator.Recheck(*caller).ok());
  now += std::chrono::seconds(1);
  EXPECT_THAT(Failure(authenticator, "Bearer one"), HasSubstr("expired"));
  EXPECT_EQ(authenticator.Recheck(*caller).code(), absl::StatusCode::kUnauthenticated);
}

TEST(Authenticator, NewCredentialsTakeTheOldOnesPlace) {
  Authenticator authenticator(Make({"old", "kept"}), {});
  const Caller old = authenticator.Authenticate("Bearer old", kMethod).value();
  const Caller kept = authenticator.Authenticate("Bearer kept", kMethod).value();
  authenticator.SetCredentials(Make({"kept", "new"}));
  EXPECT_TRUE(authenticator.Authenticate("Bearer new", kMethod).ok());
  Failure(authenticator, "Bearer old");
  EXPECT_EQ(std::string(authenticator.Recheck(old).message()), "the token has been revoked");
  EXPECT_TRUE(authenticator.Recheck(kept).ok());
}

TEST(LiveCalls, EndsThoseWhoseCallerIsNoLongerWelcome) {
  const Authenticator authenticator(Make({"one", "two"}), {});
  LiveCalls calls;
  LiveCalls::Entry bad(&calls, authenticator.Authenticate("Bearer one", kMethod).value());
  LiveCalls::Entry good(&calls, authenticator.Authenticate("Bearer two", kMethod).value());
  LiveCalls::Entry nobody(&calls, Caller());
  int num_ended = 0;
  bad.WhenRevoked([&](const absl::Status& why) {
    EXPECT_EQ(why, absl::UnauthenticatedError("no"));
    ++num_ended;
  });
  const auto unwelcome = [](const absl::Status&) { ADD_FAILURE(); };
  good.WhenRevoked(unwelcome);
  nobody.WhenRevoked(unwelcome);
  const auto check = [](const Caller& caller) {
    return caller.token()->name == "one" ? absl::UnauthenticatedError("no") : absl::OkStatus();
  };
  calls.Recheck(check);
  calls.Recheck(check);
  EXPECT_EQ(num_ended, 1);
  EXPECT_EQ(bad.revoked(), absl::UnauthenticatedError("no"));
  EXPECT_TRUE(good.revoked().ok());
  // Whoever asks late hears at once.
  bad.WhenRevoked([&](const absl::Status&) { ++num_ended; });
  EXPECT_EQ(num_ended, 2);
}

}  // namespace
}  // namespace strata::server
