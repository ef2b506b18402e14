// What viewers of traces are given: it is JSON, and its spans nest.

#include "client/cli/chrome_trace.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace strata::client {
namespace {

using nlohmann::json;

v1::Trace RandomTrace(int num_rounds) {
  std::mt19937_64 random(7);
  const auto time = [&] {
    return static_cast<int64_t>(random() % 3 == 0 ? 0 : random() % 999'999);
  };
  v1::Trace trace;
  int64_t now_ns = int64_t{40} * 24 * 3600 * 1'000'000'000;  // it has been up for forty days
  for (int i = 0; i < num_rounds; ++i) {
    v1::Round* round = trace.add_rounds();
    round->set_number(i + 1);
    round->set_start_ns(now_ns += time());
    round->set_plan_ns(time());
    round->set_draft_ns(time());
    round->set_sweep_ns(time());
    round->set_verify_ns(time());
    round->set_probe_ns(time());
    round->set_deliver_ns(time());
    now_ns += round->plan_ns() + round->draft_ns() + round->sweep_ns() + round->verify_ns() +
              round->probe_ns() + round->deliver_ns();
    for (uint64_t request = 1; request <= random() % 4; ++request) {
      v1::SequenceInRound* sequence = round->add_sequences();
      sequence->set_engine_request(request);
      sequence->set_num_rows(i == 0 ? 9 : 1);
      sequence->set_emitted_tokens(1);
    }
  }
  return trace;
}

int64_t Nanoseconds(const json& microseconds) {
  return std::llround(microseconds.get<double>() * 1000);
}

// As viewers do: a span on top of a track's stack has to end before what it lies in.
void ExpectNested(const json& events) {
  std::map<std::pair<int, int>, std::vector<int64_t>> ends;  // of the open spans, by track
  for (const json& event : events) {
    if (event["ph"] != "X") continue;
    auto& open = ends[{event["pid"], event["tid"]}];
    const int64_t start = Nanoseconds(event["ts"]);
    const int64_t end = start + Nanoseconds(event["dur"]);
    while (!open.empty() && open.back() <= start) open.pop_back();
    EXPECT_TRUE(open.empty() || end <= open.back()) << event;
    open.push_back(end);
  }
}

TEST(ChromeTrace, NestsThePartsOfARoundInIt) {
  const v1::Trace trace = RandomTrace(200);
  const json parsed = json::parse(ToChromeTrace(trace, "a \"title\" \xff"));
  const json& events = parsed["traceEvents"];
  ExpectNested(events);
  std::map<std::string, int64_t> totals;
  int num_rounds = 0;
  int num_sequences = 0;
  for (const json& event : events) {
    EXPECT_TRUE(event.contains("name") && event.contains("pid"));
    if (event["ph"] != "X") continue;
    totals[event["name"]] += Nanoseconds(event["dur"]);
    num_rounds += event["name"] == "round";
    num_sequences += event["pid"] == 2;
  }
  int64_t sweep_ns = 0;
  int expected_sequences = 0;
  for (const v1::Round& round : trace.rounds()) {
    sweep_ns += round.sweep_ns();
    expected_sequences += round.sequences_size();
  }
  EXPECT_EQ(num_rounds, 200);
  EXPECT_EQ(num_sequences, expected_sequences);
  EXPECT_EQ(totals["sweep"], sweep_ns);
  EXPECT_EQ(totals["round"], totals["plan"] + totals["draft"] + totals["sweep"] + totals["verify"] +
                                 totals["probe"] + totals["deliver"]);
}

TEST(ChromeTrace, NamesATrackPerSample) {
  const json parsed = json::parse(ToChromeTrace(RandomTrace(50), "server"));
  std::map<int, std::string> names;
  for (const json& event : parsed["traceEvents"]) {
    if (event["name"] == "thread_name" && event["pid"] == 2) {
      EXPECT_TRUE(names.emplace(event["tid"], event["args"]["name"]).second);
    }
  }
  ASSERT_EQ(names.size(), 3u);
  for (const json& event : parsed["traceEvents"]) {
    EXPECT_TRUE(event["ph"] != "X" || event["pid"] != 2 || names.contains(event["tid"])) << event;
  }
}

TEST(ChromeTrace, OfNothingIsAnEmptyTrace) {
  EXPECT_TRUE(json::parse(ToChromeTrace({}, "server"))["traceEvents"].is_array());
}

}  // namespace
}  // namespace strata::client
