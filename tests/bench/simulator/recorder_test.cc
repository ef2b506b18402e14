#include "bench/simulator/recorder.h"

#include <gtest/gtest.h>

#include <vector>

#include "bench/simulator/simulation_report.h"

namespace strata::sim {
namespace {

class RecorderTest : public testing::Test {
 protected:
  RecorderTest()
      : process_(*TokenProcess::Create({{{4, 0.6}}}, 32, 1)),
        recorder_(&process_, &clock_, 2, 1.0) {}

  // The process's own tokens after `prompt`.
  Delta TextAfter(std::vector<TokenId> prompt, int num_tokens) const {
    TextState state = process_.Start();
    for (const TokenId token : prompt) state = process_.Append(state, token);
    Delta delta;
    for (int i = 0; i < num_tokens; ++i) {
      delta.token_ids.push_back(process_.NextToken(state));
      state = process_.Append(state, delta.token_ids.back());
    }
    return delta;
  }

  const TokenProcess process_;
  VirtualClock clock_;
  Recorder recorder_;
};

TEST_F(RecorderTest, TimesOneRequest) {
  clock_.Advance(1);
  const auto sink = recorder_.Submit({0, 1, 2, 3, -1, 0, 0}, {8, 9}, clock_.NowSeconds());
  clock_.Advance(0.5);
  sink->OnStarted(0, {});
  clock_.Advance(0.25);
  Delta text = TextAfter({8, 9}, 3);
  sink->OnDelta(0, Delta{{text.token_ids[0]}, 0, "", {}});
  clock_.Advance(2);
  sink->OnDelta(0, Delta{{text.token_ids[1], text.token_ids[2]}, 1, "", {}});
  sink->OnDone(absl::OkStatus());
  const RequestRecord& record = recorder_.requests()[0];
  EXPECT_DOUBLE_EQ(record.submitted_s, 1);
  EXPECT_DOUBLE_EQ(record.started_s, 1.5);
  EXPECT_DOUBLE_EQ(record.first_token_s, 1.75);
  EXPECT_DOUBLE_EQ(record.last_token_s, 3.75);
  EXPECT_TRUE(record.finished);
  EXPECT_EQ(record.generated_tokens, 3);
  EXPECT_EQ(recorder_.wrong_tokens(), 0);
  const Summary summary = Summarize(recorder_);
  EXPECT_NEAR(summary.ttft.Percentile(0.5), 0.75, 0.0075);
  EXPECT_NEAR(summary.itl.Percentile(0.5), 2, 0.02);
  EXPECT_NEAR(summary.token_time.mean(), 1, 1e-12);
}

TEST_F(RecorderTest, NoticesWrongTokens) {
  const auto sink = recorder_.Submit({0, 0, 1, 2, -1, 0, 0}, {8}, 0);
  Delta delta = TextAfter({8}, 2);
  delta.token_ids[1] = (delta.token_ids[1] + 1) % TokenProcess::kAlphabet;
  sink->OnDelta(0, delta);
  EXPECT_EQ(recorder_.wrong_tokens(), 1);
}

TEST_F(RecorderTest, RoundsFallIntoTheirIntervals) {
  RoundReport report;
  report.emitted_tokens = 4;
  report.decode_rows = 6;
  report.drafted_tokens = 3;
  report.accepted_tokens = 1;
  report.draft_row_layers = 12;
  clock_.Advance(0.5);
  recorder_.OnRound(report);
  recorder_.OnRound(report);
  clock_.Advance(2);
  recorder_.OnRound(report);
  const auto& intervals = recorder_.intervals();
  ASSERT_EQ(intervals.size(), 3u);
  EXPECT_EQ(intervals[0].emitted_tokens, 8);
  EXPECT_EQ(intervals[1].emitted_tokens, 0);
  EXPECT_EQ(intervals[2].emitted_tokens, 4);
  EXPECT_DOUBLE_EQ(intervals[0].MeanDrafts(), 1);  // three sequences drafted three tokens
  EXPECT_DOUBLE_EQ(intervals[0].MeanExit(), 4);
  EXPECT_DOUBLE_EQ(intervals[0].Acceptance(), 1 / 3.0);
}

TEST_F(RecorderTest, IntervalsGrowAndKeepTheirSums) {
  RoundReport report;
  report.emitted_tokens = 1;
  for (int i = 0; i < 1000; ++i) {
    recorder_.OnRound(report);
    clock_.Advance(1);
  }
  const auto& intervals = recorder_.intervals();
  EXPECT_EQ(intervals.size(), 125u);  // of eight seconds
  double start = 0;
  for (const Interval& interval : intervals) {
    EXPECT_EQ(interval.emitted_tokens, 8);
    EXPECT_DOUBLE_EQ(interval.start_s, start);
    EXPECT_DOUBLE_EQ(interval.seconds, 8);
    start += 8;
  }
}

TEST_F(RecorderTest, CsvHasALineEach) {
  const auto sink = recorder_.Submit({0, 1, 2, 3, -1, 0, 0}, {8, 9}, clock_.NowSeconds());
  recorder_.OnRound({});
  const std::string requests = RequestsToCsv(recorder_);
  EXPECT_EQ(std::count(requests.begin(), requests.end(), '\n'), 2);
  EXPECT_NE(requests.find("\n1,0.000000,,,,0,2,0,0,0,0\n"), std::string::npos) << requests;
  const std::string intervals = IntervalsToCsv(recorder_);
  EXPECT_EQ(std::count(intervals.begin(), intervals.end(), '\n'), 2);
  const auto commas = [](const std::string& line) {
    return std::count(line.begin(), line.end(), ',');
  };
  const size_t header_end = intervals.find('\n');
  EXPECT_EQ(commas(intervals.substr(0, header_end)), commas(intervals.substr(header_end)));
}

}  // namespace
}  // namespace strata::sim
