#include "bench/simulator/contention.h"

#include <gtest/gtest.h>

#include "bench/simulator/model_shapes.h"

namespace strata::sim {
namespace {

SimulationOptions Options() {
  SimulationOptions options;
  options.model = *FindModelShape("llama3-8b");
  options.hardware = *FindHardware("1xH100");
  options.acceptance.exits = {{4, 0.6}};
  options.scheduler.max_sequences = 64;
  return options;
}

TEST(Contention, ServiceOfTwoTenantsStaysWithinTheBound) {
  const auto result = MeasureFairness(Options());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LE(result->largest_gap, result->bound);
  // Long enough that the bound says something.
  EXPECT_GT(result->services[0], 4 * result->bound);
  EXPECT_GT(result->services[1], 4 * result->bound);
  EXPECT_LE(result->contended_ttft_p95_s, 2 * result->alone_ttft_p95_s);
}

TEST(Contention, WithoutFairnessTheBoundsBreak) {
  SimulationOptions options = Options();
  options.tells_tenants_apart = false;
  const auto result = MeasureFairness(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->largest_gap, 4 * result->bound);
  EXPECT_GT(result->contended_ttft_p95_s, 2 * result->alone_ttft_p95_s);
}

TEST(Contention, StreamsGoOnBesideALongPrompt) {
  const auto result = MeasureLongPrompt(Options());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->itl_p99_s, 1.5 * result->round_s);  // it does cost them something
  EXPECT_LE(result->itl_p99_s, 2 * result->chunk_s);
  EXPECT_LE(result->itl_most_s, 2 * result->chunk_s);
}

TEST(Contention, WithoutChunksStreamsStandStill) {
  SimulationOptions options = Options();
  options.scheduler.max_batch_tokens = options.scheduler.max_prefill_chunk = 8192;
  const auto result = MeasureLongPrompt(options);
  ASSERT_TRUE(result.ok()) << result.status();
  const auto chunked = MeasureLongPrompt(Options());
  EXPECT_GT(result->itl_most_s, 4 * chunked->itl_most_s);
}

TEST(Contention, AQuarterOfThePoolIsEnough) {
  const auto result = MeasureSmallPool(Options());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->finished, result->requests);
  EXPECT_LE(4 * result->blocks_given, result->blocks_wanted);
  EXPECT_GT(result->preemptions, 0);
  EXPECT_LE(result->preemptions, result->most_preemptions);
}

}  // namespace
}  // namespace strata::sim
