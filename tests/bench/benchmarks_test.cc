#include "bench/benchmarks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/machine.h"
#include "bench/session.h"
#include "bench/speculative.h"
#include "bench/throughput.h"

namespace strata::bench {
namespace {

using ::testing::ElementsAre;

ModelConfig ConfigOf(int max_position_embeddings) {
  ModelConfig config;
  config.max_position_embeddings = max_position_embeddings;
  return config;
}

TEST(RoomFor, HoldsTheLongestContextThatTheCheckpointAllows) {
  EXPECT_EQ(RoomFor(Options{}, ConfigOf(8192)).max_context, 8192);
  EXPECT_EQ(RoomFor(Options{}, ConfigOf(8000)).max_context, 4097);  // prefill_4096 and a token
  EXPECT_EQ(RoomFor(Options{}, ConfigOf(300)).max_context, 300);
}

TEST(RoomFor, IsForTheGroupsThatRun) {
  Options options;
  options.groups = {Group::kSpeculative};
  const Room room = RoomFor(options, ConfigOf(8192));
  EXPECT_EQ(room.max_context, 512 + options.decode_tokens);
  EXPECT_EQ(room.max_sequences, 1);
  EXPECT_EQ(room.kv_tokens, 512 + options.decode_tokens);
}

TEST(RoomFor, HoldsAllSequencesAtOnce) {
  Options options;
  options.groups = {Group::kDecode};
  options.batch_sizes = {1, 64, 8};
  const Room room = RoomFor(options, ConfigOf(8192));
  EXPECT_EQ(room.max_sequences, 64);
  EXPECT_GE(room.kv_tokens, 64 * (kBatchPromptTokens + options.decode_tokens));
}

// This machine, or this build, has no GPU; the folder is never loaded.
TEST(RunBenchmarks, SaysThatThereIsNoGpu) {
  Options options;
  options.model = STRATA_SOURCE_DIR "/models/demo";
  options.on_gpu = true;
  options.groups = {Group::kStartUp};
  const auto report = RunBenchmarks(options);
  if (report.ok()) GTEST_SKIP() << "there is one";
  EXPECT_THAT(std::string(report.status().message()), testing::HasSubstr("CUDA"));
}

TEST(FittingLengths, LeavesOutWhatIsTooLong) {
  EXPECT_THAT(FittingLengths({512, 4096}, 4096), ElementsAre(512, 4096));
  EXPECT_THAT(FittingLengths({512, 4096}, 4095), ElementsAre(512));
  EXPECT_THAT(FittingLengths({512, 4096}, 300), ElementsAre(300));
}

TEST(ShapeOfContext, HasTheContextOnAverage) {
  const ContextShape shape = ShapeOfContext(2048, 128, 8192);
  EXPECT_EQ(shape.prompt_tokens, 2048 - 64);
  EXPECT_EQ(shape.new_tokens, 128);
  EXPECT_EQ(shape.mean_tokens, 2048);
}

TEST(ShapeOfContext, NeverPassesTheMaximum) {
  const ContextShape shape = ShapeOfContext(8192, 128, 8192);
  EXPECT_EQ(shape.prompt_tokens + shape.new_tokens, 8192);
  EXPECT_EQ(shape.mean_tokens, 8192 - 64);
}

TEST(ShapeOfContext, GeneratesLessInAShortContext) {
  const ContextShape shape = ShapeOfContext(128, 4096, 8192);
  EXPECT_EQ(shape.new_tokens, 64);
  EXPECT_EQ(shape.mean_tokens, 128);
}

TEST(DefaultExitLayers, AreFractionsOfTheDepth) {
  EXPECT_THAT(DefaultExitLayers(32), ElementsAre(2, 4, 8, 16));
  EXPECT_THAT(DefaultExitLayers(6), ElementsAre(1, 3));
  EXPECT_THAT(DefaultExitLayers(1), ElementsAre());
}

TEST(MedianOf, IsTheMiddle) {
  const auto same = [](double value) { return value; };
  EXPECT_EQ(MedianOf(std::vector<double>{3, 1, 2}, same), 2);
  EXPECT_EQ(MedianOf(std::vector<double>{4}, same), 4);
}

TEST(ResidentMemory, CountsWhatWasTouched) {
  const ResidentMemory before = ReadResidentMemory();
  if (before.total_bytes == 0) GTEST_SKIP() << "this system does not say";
  const std::vector<char> touched(64 << 20, 1);
  const ResidentMemory after = ReadResidentMemory();
  EXPECT_GE(after.anonymous_bytes - before.anonymous_bytes, 60 << 20);
  EXPECT_GE(after.total_bytes, after.anonymous_bytes);
  EXPECT_EQ(touched.back(), 1);
}

}  // namespace
}  // namespace strata::bench
