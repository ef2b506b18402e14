#include "bench/simulator/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>

namespace strata::sim {
namespace {

using testing::HasSubstr;

TraceOptions Many() {
  TraceOptions options;
  options.num_requests = 50000;
  options.requests_per_s = 20;
  return options;
}

Trace Made(const TraceOptions& options) { return *MakeTrace(options); }

struct Moments {
  double mean = 0, deviation = 0;
};

template <typename Value>
Moments MomentsOf(const Trace& trace, Value value) {
  double sum = 0, squares = 0;
  for (size_t i = 0; i < trace.size(); ++i) {
    const double x = value(i);
    sum += x;
    squares += x * x;
  }
  const double n = static_cast<double>(trace.size());
  return {sum / n, std::sqrt(squares / n - sum / n * sum / n)};
}

double Gap(const Trace& trace, size_t i) {
  return trace[i].arrival_s - (i > 0 ? trace[i - 1].arrival_s : 0);
}

TEST(MakeTrace, PoissonArrivalsHaveExponentialGaps) {
  const Trace trace = *MakeTrace(Many());
  const Moments gaps = MomentsOf(trace, [&](size_t i) { return Gap(trace, i); });
  EXPECT_NEAR(gaps.mean, 1 / 20.0, 0.001);
  EXPECT_NEAR(gaps.deviation, 1 / 20.0, 0.0015);
}

TEST(MakeTrace, BurstsKeepTheMeanRate) {
  TraceOptions options = Many();
  options.burst_factor = 10;
  options.burst_period_s = 10;
  const Trace trace = *MakeTrace(options);
  EXPECT_NEAR(trace.back().arrival_s, 50000 / 20.0, 50);
  // A tenth of the time has 10 / 1.9 times the mean rate.
  int in_bursts = 0;
  for (const TraceRequest& request : trace) {
    if (std::fmod(request.arrival_s, 10) >= 9) ++in_bursts;
  }
  EXPECT_NEAR(in_bursts / 50000.0, 1 / 1.9, 0.01);
}

TEST(MakeTrace, LogNormalLengthsHaveTheirMoments) {
  TraceOptions options = Many();
  options.prompt = {Lengths::Kind::kLogNormal, 300, 0.5, 1 << 20};
  const Trace trace = *MakeTrace(options);
  const Moments moments = MomentsOf(trace, [&](size_t i) { return trace[i].prompt_tokens; });
  EXPECT_NEAR(moments.mean, 300, 3);
  EXPECT_NEAR(moments.deviation, 300 * std::sqrt(std::exp(0.25) - 1), 5);
}

TEST(MakeTrace, ParetoLengthsHaveTheirTail) {
  TraceOptions options = Many();
  options.output = {Lengths::Kind::kPareto, 300, 3, 1 << 20};
  const Trace trace = *MakeTrace(options);
  const Moments moments = MomentsOf(trace, [&](size_t i) { return trace[i].output_tokens; });
  EXPECT_NEAR(moments.mean, 300, 5);
  int beyond = 0, shortest = 1 << 20;
  for (const TraceRequest& request : trace) {
    if (request.output_tokens > 800) ++beyond;
    shortest = std::min(shortest, request.output_tokens);
  }
  EXPECT_EQ(shortest, 200);  // mean x 2 / 3
  EXPECT_NEAR(beyond / 50000.0, std::pow(200 / 800.0, 3), 0.002);
}

TEST(MakeTrace, CutsLengths) {
  TraceOptions options = Many();
  options.prompt = {Lengths::Kind::kPareto, 100, 1.1, 150};
  for (const TraceRequest& request : Made(options)) {
    EXPECT_GE(request.prompt_tokens, 1);
    EXPECT_LE(request.prompt_tokens, 150);
  }
}

TEST(MakeTrace, TenantsHaveTheirParts) {
  TraceOptions options = Many();
  options.tenant_weights = {10, 1};
  int light = 0;
  for (const TraceRequest& request : Made(options)) light += request.tenant;
  EXPECT_NEAR(light / 50000.0, 1 / 11.0, 0.005);
}

TEST(MakeTrace, PopularPrefixesComeMoreOften) {
  TraceOptions options = Many();
  options.num_prefixes = 3;
  options.prefix_tokens = 64;
  options.prefix_share = 0.5;
  std::map<int, int> counts;
  for (const TraceRequest& request : Made(options)) {
    ++counts[request.prefix];
    EXPECT_EQ(request.prefix_tokens, request.prefix < 0 ? 0 : 64);
    EXPECT_GT(request.prompt_tokens, request.prefix_tokens);
  }
  EXPECT_NEAR(counts[-1] / 50000.0, 0.5, 0.01);
  const double all = 1 + 1 / 2.0 + 1 / 3.0;
  EXPECT_NEAR(counts[0] / 25000.0, 1 / all, 0.01);
  EXPECT_NEAR(counts[2] / 25000.0, 1 / 3.0 / all, 0.01);
}

TEST(MakeTrace, DependsOnItsSeedAlone) {
  TraceOptions options = Many();
  options.num_requests = 100;
  const Trace trace = *MakeTrace(options);
  EXPECT_EQ(trace, *MakeTrace(options));
  options.seed = 2;
  EXPECT_NE(trace, *MakeTrace(options));
}

TEST(MakeTrace, RefusesWhatIsOutOfRange) {
  const auto refuses = [](auto change) {
    TraceOptions options;
    change(options);
    return MakeTrace(options).status().code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refuses([](auto& o) { o.num_requests = 0; }));
  EXPECT_TRUE(refuses([](auto& o) { o.requests_per_s = 0; }));
  EXPECT_TRUE(refuses([](auto& o) { o.burst_factor = 0.5; }));
  EXPECT_TRUE(refuses([](auto& o) { o.prompt.mean = 0; }));
  EXPECT_TRUE(refuses([](auto& o) { o.output = {Lengths::Kind::kPareto, 10, 1, 100}; }));
  EXPECT_TRUE(refuses([](auto& o) { o.prefix_share = 0.5; }));
  EXPECT_TRUE(refuses([](auto& o) { o.prefix_tokens = o.prompt.max; }));
  EXPECT_TRUE(refuses([](auto& o) { o.tenant_weights = {}; }));
  EXPECT_TRUE(refuses([](auto& o) { o.tenant_weights = {1, 0}; }));
  EXPECT_FALSE(refuses([](auto&) {}));
}

TEST(MakePrompt, SharesPrefixesOnly) {
  const TraceRequest a{0, 0, 50, 1, 7, 30, 5};
  const TraceRequest b{0, 0, 60, 1, 7, 30, 9};
  const TraceRequest c{0, 0, 60, 1, 8, 30, 9};
  const std::vector<TokenId> first = MakePrompt(a, 0, 1);
  const std::vector<TokenId> second = MakePrompt(b, 1, 1);
  const std::vector<TokenId> third = MakePrompt(c, 2, 1);
  ASSERT_EQ(first.size(), 50u);
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 30, second.begin()));
  EXPECT_NE(first[30], second[30]);
  EXPECT_NE(first[0], third[0]);
  EXPECT_EQ(first, MakePrompt(a, 0, 1));
}

std::string WriteFile(const std::string& content) {
  const std::string path = testing::TempDir() + "/strata_trace_test.csv";
  std::ofstream(path) << content;
  return path;
}

TEST(TraceFile, ReadsWhatItWrites) {
  TraceOptions options;
  options.num_requests = 50;
  options.num_prefixes = 2;
  options.prefix_tokens = 8;
  options.prefix_share = 0.5;
  options.tenant_weights = {1, 2};
  const std::string csv = TraceToCsv(*MakeTrace(options));
  const auto read = ReadTrace(WriteFile(csv));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(TraceToCsv(*read), csv);
}

TEST(TraceFile, LastColumnsMayBeLeftOut) {
  const auto read = ReadTrace(
      WriteFile("arrival_s,tenant,prompt_tokens,output_tokens\n0.5,1,20,30\n\n0.5,0,1,1\n"));
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ(read->at(0).prompt_tokens, 20);
  EXPECT_EQ(read->at(0).prefix, -1);
}

TEST(TraceFile, NamesTheLineThatIsWrong) {
  const std::string header = "arrival_s,tenant,prompt_tokens,output_tokens,prefix,prefix_tokens\n";
  for (const char* line :
       {"x,0,1,1", "1,0,1", "1,0,0,1", "1,0,1,0", "-1,0,1,1", "1,-1,1,1", "nan,0,1,1",
        "1,0,5,1,0,5", "1,0,5,1,0,2,1024", "1,0,5,1,0,2,0,9", "1,0,99999999,1", "1,0,1,1 "}) {
    const auto read = ReadTrace(WriteFile(header + "0.5,0,1,1\n" + line + "\n"));
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(":3:")) << line;
  }
  EXPECT_THAT(std::string(ReadTrace(WriteFile("a,b\n")).status().message()), HasSubstr("header"));
  EXPECT_FALSE(ReadTrace(WriteFile(header)).ok());
  EXPECT_EQ(ReadTrace("/nonexistent.csv").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace strata::sim
