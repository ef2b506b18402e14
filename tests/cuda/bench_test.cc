// strata-bench on an emulated GPU: what it measures there, not how fast that is.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bench/benchmarks.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/test_models.h"

namespace strata::bench {
namespace {

TEST(CudaBench, MeasuresWithoutLimits) {
  cuda_emulator::Configure({.lazy_streams = true});
  Options options;
  options.model = TinyModel();
  options.on_gpu = true;
  options.groups = {Group::kStartUp, Group::kPrefill, Group::kDecode, Group::kSpeculative,
                    Group::kMemory};
  options.decode_tokens = 4;
  options.repeat = 1;
  options.prefill_tokens = {8};
  options.batch_sizes = {2};
  options.exit_layers = {2};
  options.draft_tokens = {2};
  options.prompt = "def";
  const auto report = RunBenchmarks(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->backend, testing::HasSubstr("emulated GPU"));
  std::vector<std::string> names;
  for (const Row& row : report->rows) {
    names.push_back(row.name);
    EXPECT_GT(row.value, 0) << row.name;
    EXPECT_FALSE(row.beside.has_value()) << row.name;
  }
  EXPECT_THAT(names,
              testing::IsSupersetOf({"start_up", "prefill_8", "decode_2", "speculative_e2_k2"}));
  EXPECT_THAT(names, testing::Not(testing::Contains("memory_resident")));
  EXPECT_THAT(ToTable(*report), testing::Not(testing::HasSubstr("limits")));
}

}  // namespace
}  // namespace strata::bench
