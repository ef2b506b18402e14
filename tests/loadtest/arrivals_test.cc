#include "loadtest/generator/arrivals.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/loadtest/temporary_file.h"

namespace strata::loadtest {
namespace {

TEST(PoissonArrivals, HaveTheRateAndTheSpreadOfIndependentCallers) {
  PoissonArrivals arrivals(50, 3);
  constexpr int kCalls = 20000;
  double last_s = 0, sum = 0, sum_of_squares = 0;
  for (int i = 0; i < kCalls; ++i) {
    const double due_s = arrivals.Next()->due_s;
    ASSERT_GE(due_s, last_s);
    const double gap_s = due_s - last_s;
    sum += gap_s;
    sum_of_squares += gap_s * gap_s;
    last_s = due_s;
  }
  const double mean = sum / kCalls;
  const double deviation = std::sqrt(sum_of_squares / kCalls - mean * mean);
  // An exponential's deviation is its mean. The mean of n has an error of mean / sqrt(n): 5 of it.
  EXPECT_NEAR(mean * 50, 1, 5 / std::sqrt(kCalls));
  EXPECT_NEAR(deviation / mean, 1, 0.05);
}

TEST(PoissonArrivals, AreTheSameForTheSameSeed) {
  PoissonArrivals one(5, 11), same(5, 11), other(5, 12);
  const double due_s = one.Next()->due_s;
  EXPECT_EQ(due_s, same.Next()->due_s);
  EXPECT_NE(due_s, other.Next()->due_s);
}

TEST(ReadTrace, TakesColumnsByName) {
  const TemporaryFile file(
      "tenant,arrival_s,output_tokens,prompt_tokens\n0,0.5,7,30\r\n1,2,9,40\n\n");
  const auto trace = ReadTrace(file.path());
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 2u);
  EXPECT_EQ((*trace)[0].due_s, 0.5);
  EXPECT_EQ((*trace)[0].prompt_tokens, 30);
  EXPECT_EQ((*trace)[0].max_new_tokens, 7);
  EXPECT_EQ((*trace)[1].prompt_tokens, 40);
}

TEST(ReadTrace, NeedsNoLengths) {
  const TemporaryFile file("arrival_s\n1\n1\n");
  TraceArrivals arrivals(*ReadTrace(file.path()));
  EXPECT_FALSE(arrivals.Next()->prompt_tokens.has_value());
  EXPECT_TRUE(arrivals.Next().has_value());
  EXPECT_FALSE(arrivals.Next().has_value());
}

TEST(ReadTrace, SaysWhichLineIsWrong) {
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"", ":1:"},
           {"time\n1\n", "arrival_s"},
           {"arrival_s\n", "no arrivals"},
           {"arrival_s\n1\nx\n", ":3:"},
           {"arrival_s\n2\n1\n", ":3:"},
           {"arrival_s\n-1\n", ":2:"},
           {"arrival_s\nnan\n", ":2:"},
           {"arrival_s,prompt_tokens\n1,0\n", ":2:"},
           {"arrival_s,prompt_tokens\n1\n", ":2:"},
           {"arrival_s,output_tokens\n1,99999999999\n", ":2:"}}) {
    const TemporaryFile file(text);
    const auto trace = ReadTrace(file.path());
    ASSERT_FALSE(trace.ok()) << text;
    EXPECT_NE(std::string(trace.status().message()).find(words), std::string::npos)
        << trace.status();
  }
  EXPECT_EQ(ReadTrace("/does/not/exist").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace strata::loadtest
