// W3C Trace Context, by the standard's own rules.

#include "server/trace_context.h"

#include <gtest/gtest.h>

#include <string>

namespace strata::server {
namespace {

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kParent[] = "00f067aa0ba902b7";
const std::string kGood = std::string("00-") + kTrace + "-" + kParent + "-01";

TEST(Traceparent, IsTakenApartAndPutTogether) {
  const auto context = ParseTraceparent(kGood);
  ASSERT_TRUE(context);
  EXPECT_EQ(context->trace_id, kTrace);
  EXPECT_EQ(context->parent_id, kParent);
  EXPECT_EQ(context->flags, "01");
  EXPECT_EQ(context->ToHeader(), kGood);
}

TEST(Traceparent, OfLaterVersionsTheKnownPartIsTaken) {
  const std::string later = "cc" + kGood.substr(2);
  for (const std::string& header : {later, later + "-what-comes", later + "-"}) {
    const auto context = ParseTraceparent(header);
    ASSERT_TRUE(context) << header;
    EXPECT_EQ(context->ToHeader(), kGood);
  }
}

TEST(Traceparent, AnythingElseIsNone) {
  const std::string zeros(32, '0');
  for (const std::string& header : {
           std::string(),
           kGood.substr(0, 54),
           kGood + "0",
           kGood + "-00",                                              // not of version 00
           "cc" + kGood.substr(2) + "0",                               // no dash behind the flags
           "ff" + kGood.substr(2),                                     // no version
           std::string("00-") + zeros + "-" + kParent + "-01",         // no trace
           std::string("00-") + kTrace + "-0000000000000000-01",       // no parent
           "00-4BF92F3577B34DA6A3CE929D0E0E4736-" + kGood.substr(36),  // upper case
           "00_" + kGood.substr(3),
           kGood.substr(0, 35) + "_" + kGood.substr(36),
           kGood.substr(0, 52) + "_01",
           kGood.substr(0, 53) + "0g",
           "0" + kGood,
           std::string(kGood).replace(10, 1, 1, '\n'),
           std::string(55, '-'),
       }) {
    EXPECT_FALSE(ParseTraceparent(header)) << header;
  }
}

TEST(Traceparent, EveryChangedCharacterIsReadBackOrRefused) {
  for (size_t i = 0; i < kGood.size(); ++i) {
    for (int c = 0; c < 256; ++c) {
      std::string header = kGood;
      header[i] = static_cast<char>(c);
      const auto context = ParseTraceparent(header);
      if (context) {
        EXPECT_EQ(context->ToHeader().substr(2), header.substr(2));
      }
    }
  }
}

}  // namespace
}  // namespace strata::server
