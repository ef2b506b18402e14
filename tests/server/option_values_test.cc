#include "server/option_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strata::server {
namespace {

using ::testing::HasSubstr;

TEST(OptionValues, ReadsIntegersInTheirRange) {
  EXPECT_EQ(*ParseInteger("0", 0, 8), 0);
  EXPECT_EQ(*ParseInteger("8", 0, 8), 8);
  for (const char* text : {"", "x", "1x", " 1", "1.5", "-1", "9", "99999999999999999999"}) {
    EXPECT_FALSE(ParseInteger(text, 0, 8).ok()) << text;
  }
}

TEST(OptionValues, ReadsSizesWithUnits) {
  EXPECT_EQ(*ParseByteSize("1"), 1);
  EXPECT_EQ(*ParseByteSize("512KiB"), 512 << 10);
  EXPECT_EQ(*ParseByteSize("64m"), 64 << 20);
  EXPECT_EQ(*ParseByteSize("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(*ParseByteSize("3TB"), int64_t{3} << 40);
  for (const char* text : {"", "GiB", "0", "-1GiB", "2XiB", "2 GiB", "1.5GiB", "9999999999TiB"}) {
    EXPECT_FALSE(ParseByteSize(text).ok()) << text;
  }
}

TEST(OptionValues, ReadsDurations) {
  EXPECT_EQ(ParseDuration("500ms")->count(), 500);
  EXPECT_EQ(ParseDuration("30")->count(), 30'000);
  EXPECT_EQ(ParseDuration("30s")->count(), 30'000);
  EXPECT_EQ(ParseDuration("2m")->count(), 120'000);
  EXPECT_EQ(ParseDuration("0")->count(), 0);
  for (const char* text : {"", "s", "-1s", "1d", "25h", "9223372036854775807h"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(OptionValues, ReadsAddresses) {
  EXPECT_EQ(ParseHostPort("0.0.0.0:80")->ToString(), "0.0.0.0:80");
  EXPECT_EQ(ParseHostPort("localhost:0")->host, "localhost");
  EXPECT_EQ(ParseHostPort("[::1]:8080")->host, "::1");
  EXPECT_EQ(ParseHostPort("[::1]:8080")->ToString(), "[::1]:8080");
  for (const char* text :
       {"", "80", ":80", "host:", "host:x", "host:65536", "host:-1", "::1:80", "[]:80", "["}) {
    EXPECT_FALSE(ParseHostPort(text).ok()) << text;
  }
  EXPECT_THAT(std::string(ParseHostPort("host:65536").status().message()),
              HasSubstr("65536 is out of range"));
}

}  // namespace
}  // namespace strata::server
