#include "bench/simulator/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "bench/simulator/model_card.h"
#include "bench/simulator/model_shapes.h"
#include "bench/simulator/simulation_report.h"

namespace strata::sim {
namespace {

using testing::HasSubstr;

SimulationOptions Options() {
  SimulationOptions options;
  options.model = *FindModelShape("llama3-8b");
  options.hardware = *FindHardware("1xH200");
  options.acceptance.exits = {{2, 0.45}, {4, 0.6}, {8, 0.75}};
  options.kv_tokens = 1 << 16;
  return options;
}

Speculation Fixed(int exit_layer, int num_drafts) {
  return {Speculation::Mode::kFixed, exit_layer, num_drafts, {}};
}

Trace SmallTrace(int num_requests, double rate) {
  TraceOptions options;
  options.num_requests = num_requests;
  options.requests_per_s = rate;
  options.output = {Lengths::Kind::kLogNormal, 40, 1, 300};
  options.tenant_weights = {3, 1};
  return *MakeTrace(options);
}

std::unique_ptr<Simulation> RunOf(const SimulationOptions& options, const Trace& trace) {
  auto simulation = Simulation::Create(options, trace);
  EXPECT_TRUE(simulation.ok()) << simulation.status();
  const absl::Status status = (*simulation)->Run();
  EXPECT_TRUE(status.ok()) << status;
  return *std::move(simulation);
}

TEST(Simulation, AllRequestsGetTheirTokens) {
  const Trace trace = SmallTrace(300, 40);
  const auto simulation = RunOf(Options(), trace);
  const auto& requests = simulation->recorder().requests();
  ASSERT_EQ(requests.size(), trace.size());
  int64_t tokens = 0;
  for (size_t i = 0; i < trace.size(); ++i) {
    EXPECT_TRUE(requests[i].finished);
    EXPECT_EQ(requests[i].generated_tokens, trace[i].output_tokens);
    EXPECT_NEAR(requests[i].submitted_s, trace[i].arrival_s, 1e-9);
    EXPECT_GE(requests[i].started_s, requests[i].submitted_s);
    EXPECT_GE(requests[i].first_token_s, requests[i].started_s);
    EXPECT_GE(requests[i].last_token_s, requests[i].first_token_s);
    tokens += trace[i].output_tokens;
  }
  EXPECT_EQ(Summarize(simulation->recorder()).emitted_tokens, tokens);
}

TEST(Simulation, SameSeedSameBytes) {
  SimulationOptions options = Options();
  options.speculation = Fixed(4, 3);
  const Trace trace = SmallTrace(200, 40);
  const auto everything = [&] {
    const auto simulation = RunOf(options, trace);
    const Recorder& recorder = simulation->recorder();
    return RequestsToCsv(recorder) + IntervalsToCsv(recorder) + TimelineToSvg(recorder, "t") +
           SummaryToText(Summarize(recorder));
  };
  const std::string first = everything();
  EXPECT_EQ(first, everything());
  options.seed = 2;
  EXPECT_NE(first, everything());
}

// One request at a time is nothing but the cost model's own times.
TEST(Simulation, PlainDecodingTakesTheRooflinesTime) {
  SimulationOptions options = Options();
  options.time_noise = 0;
  const auto simulation = RunOf(options, {{0, 0, 100, 51, -1, 0, 0}});
  const RequestRecord& request = simulation->recorder().requests()[0];
  double expected = 0;
  for (int context = 101; context <= 150; ++context) {
    expected += simulation->roofline().DecodeSeconds(context);
  }
  EXPECT_NEAR(request.last_token_s - request.first_token_s, expected, 1e-6);
}

TEST(Simulation, SpeculationOfOneReachesTheFormula) {
  SimulationOptions options = Options();
  options.time_noise = 0;
  options.acceptance = {{{4, 0.7}}, 0, 0, 0, 0, 0};
  options.concurrency = 1;
  const Trace trace(40, TraceRequest{0, 0, 16, 400, -1, 0, 0});
  const auto speed = [&](const Speculation& speculation) {
    options.speculation = speculation;
    return 1 / Summarize(RunOf(options, trace)->recorder()).token_time.mean();
  };
  const double off = speed({});
  const Roofline roofline(options.model, options.hardware, options.weights, 1);
  for (const int drafts : {1, 3, 5}) {
    const double predicted = PredictedSpeedup(roofline, 4, drafts, 0.7, 216, true);
    EXPECT_NEAR(speed(Fixed(4, drafts)) / off, predicted, 0.02 * predicted) << drafts;
  }
}

// One server, constant service: the Pollaczek-Khinchine formula for M/D/1.
TEST(Simulation, QueueOfOneServerWaitsAsInTheory) {
  SimulationOptions options = Options();
  options.time_noise = 0;
  options.scheduler.max_sequences = 1;
  TraceOptions trace_options;
  trace_options.num_requests = 20000;
  trace_options.prompt = {Lengths::Kind::kFixed, 100, 0, 100};
  trace_options.output = {Lengths::Kind::kFixed, 1, 0, 1};
  const Roofline roofline(options.model, options.hardware, options.weights, 1);
  const double service = roofline.ForwardSeconds() +
                         options.model.num_layers * roofline.LayerSeconds({100, 100, 5050}) +
                         roofline.HeadSeconds(1, options.model.vocab_size);
  for (const double load : {0.3, 0.6, 0.8}) {
    trace_options.requests_per_s = load / service;
    const auto simulation = RunOf(options, *MakeTrace(trace_options));
    const double expected = service + load * service / (2 * (1 - load));
    EXPECT_NEAR(Summarize(simulation->recorder()).ttft.mean(), expected, 0.06 * expected) << load;
  }
}

TEST(Simulation, ClosedLoopKeepsItsConcurrency) {
  SimulationOptions options = Options();
  options.concurrency = 7;
  const auto simulation = RunOf(options, SmallTrace(100, 1));
  int most = 0;
  for (const Interval& interval : simulation->recorder().intervals()) {
    most = std::max(most, interval.most_running);
  }
  EXPECT_EQ(most, 7);
  EXPECT_GT(simulation->recorder().SteadyTokensPerSecond(), 0);
}

TEST(Simulation, AcceptanceIsWhatWasAskedFor) {
  SimulationOptions options = Options();
  // With spread, hard passages have more drafts than easy ones: after a rejection they go on.
  options.acceptance.request_spread = options.acceptance.token_spread = 0;
  for (const auto& [exit_layer, mean] : options.acceptance.exits) {
    options.speculation = Fixed(exit_layer, 1);
    const auto simulation = RunOf(options, SmallTrace(1000, 40));
    EXPECT_NEAR(Summarize(simulation->recorder()).acceptance, mean, 0.01) << exit_layer;
    EXPECT_DOUBLE_EQ(Summarize(simulation->recorder()).mean_exit, exit_layer);
  }
}

// Text, KV and blocks are checked by Run itself.
TEST(Simulation, PreemptionLosesNothing) {
  SimulationOptions options = Options();
  options.kv_tokens = 4096;
  options.speculation = Fixed(4, 4);
  const Trace trace = SmallTrace(400, 1000);
  const auto simulation = RunOf(options, trace);
  const Summary summary = Summarize(simulation->recorder());
  EXPECT_EQ(summary.finished, 400);
  EXPECT_GT(summary.preemptions, 0);
}

TEST(Simulation, FullQueueRefuses) {
  SimulationOptions options = Options();
  options.scheduler.max_sequences = 4;
  options.max_queue = 8;
  const auto simulation = RunOf(options, SmallTrace(100, 10000));
  const Summary summary = Summarize(simulation->recorder());
  EXPECT_EQ(summary.requests, 100);
  EXPECT_GE(summary.finished, 12);
  EXPECT_LT(summary.finished, 100);
}

TEST(Simulation, SharedPrefixesAreComputedOnce) {
  SimulationOptions options = Options();
  Trace trace;
  for (int i = 0; i < 32; ++i) trace.push_back({i * 0.001, 0, 1040, 8, 3, 1008, i});
  const Summary with = Summarize(RunOf(options, trace)->recorder());
  EXPECT_EQ(with.prefilled_tokens, 1040 + 31 * 32);
  EXPECT_EQ(with.cached_tokens, 31 * 1008);
  options.prefix_cache = false;
  const Summary without = Summarize(RunOf(options, trace)->recorder());
  EXPECT_EQ(without.prefilled_tokens, 32 * 1040);
  EXPECT_LT(with.ttft.Percentile(0.95), 0.5 * without.ttft.Percentile(0.95));
}

TEST(Simulation, CountsAddUp) {
  SimulationOptions options = Options();
  options.speculation = Fixed(4, 2);
  const auto simulation = RunOf(options, SmallTrace(300, 60));
  const EngineCounters& counters = simulation->counters();
  Interval total;
  int64_t by_tenant = 0;
  for (const Interval& interval : simulation->recorder().intervals()) {
    total.rounds += interval.rounds;
    total.drafted_tokens += interval.drafted_tokens;
    total.accepted_tokens += interval.accepted_tokens;
    for (const int64_t tokens : interval.tenant_tokens) by_tenant += tokens;
  }
  EXPECT_EQ(total.rounds, counters.rounds);
  EXPECT_EQ(total.drafted_tokens, counters.drafted_tokens);
  EXPECT_EQ(total.accepted_tokens, counters.accepted_tokens);
  EXPECT_EQ(by_tenant, counters.emitted_tokens);
  EXPECT_LE(simulation->recorder().intervals().size(),
            static_cast<size_t>(Recorder::kMaxIntervals));
}

TEST(Simulation, RefusesWhatCannotRun) {
  const auto message = [](const SimulationOptions& options, const Trace& trace) {
    return std::string(Simulation::Create(options, trace).status().message());
  };
  const Trace trace = SmallTrace(10, 1);
  SimulationOptions options = Options();
  options.speculation = Fixed(32, 2);
  EXPECT_THAT(message(options, trace), HasSubstr("exit layer 32"));
  options = Options();
  options.tensor_parallel = 8;
  EXPECT_THAT(message(options, trace), HasSubstr("no 8 devices"));
  options = Options();
  EXPECT_THAT(message(options, {{0, 0, 8000, 500, -1, 0, 0}}), HasSubstr("8500 tokens"));
  options.scheduler.max_sequences = 1000;
  EXPECT_THAT(message(options, trace), HasSubstr("more sequences"));
}

}  // namespace
}  // namespace strata::sim
