// Invariant I3: no (layer, position) of a committed token is computed twice,
// and none that DESIGN's round does not call for.

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "engine/engine.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

struct Work {
  int64_t row_layers = 0;
  int64_t draft_row_layers = 0;
  int64_t head_rows = 0;
};

// The formula. A prompt of P tokens passes all L layers once, and the head at its last row. A
// round that drafts k tokens at exit E runs k rows through [0, E) and the head in its micro-steps,
// and in its sweep k rows through [E, L), one row through [0, L), and k + 1 rows through the head.
Work Expected(const CollectedSample& sample, int num_layers, int exit_layer) {
  const int64_t prompt = sample.started.prompt_tokens;
  const int64_t decode_rounds = sample.finished->speculation.rounds - 1;
  const int64_t drafted = sample.finished->speculation.drafted_tokens;
  Work work;
  work.draft_row_layers = drafted * exit_layer;
  work.row_layers = prompt * num_layers + drafted * exit_layer +
                    drafted * (num_layers - exit_layer) + decode_rounds * num_layers;
  work.head_rows = 1 + drafted + (drafted + decode_rounds);
  return work;
}

GenerateRequest Request(int variant, int exit_layer, int num_drafts) {
  GenerateRequest request;
  std::vector<TokenId> prompt;
  for (int i = 0; i < 10 + 7 * variant; ++i) prompt.push_back((31 * i + variant) % 1000);
  request.prompt = prompt;
  request.sampling.temperature = 0.8f;
  request.sampling.seed = static_cast<uint64_t>(variant);
  request.stopping.max_new_tokens = 20 + variant;
  request.stopping.ignore_eos = true;
  if (num_drafts == 0) return request;
  request.speculation.mode = Speculation::Mode::kFixed;
  request.speculation.exit_layer = exit_layer;
  request.speculation.num_draft_tokens = num_drafts;
  return request;
}

class RowLayers : public testing::TestWithParam<int> {};  // number of ranks

TEST_P(RowLayers, EqualTheFormulaForMixedExitsAndDraftLengthsInOneBatch) {
  EngineOptions options = TestEngineOptions();
  options.max_prefill_chunk = 13;
  const auto engine =
      OpenEngine(TinyModel(), {"", kernels::WeightFormat::kF32, 1, GetParam()}, options);
  const int num_layers = engine->checkpoint().config().num_layers;
  const std::vector<std::pair<int, int>> points = {{1, 4}, {3, 2}, {5, 1}, {2, 8}, {0, 0}, {4, 3}};
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (size_t i = 0; i < points.size(); ++i) {
    sinks.push_back(std::make_shared<CollectingSink>());
    const auto [exit_layer, num_drafts] = points[i];
    ASSERT_TRUE(
        engine->Submit(Request(static_cast<int>(i), exit_layer, num_drafts), sinks.back()).ok());
  }
  Work expected;
  for (size_t i = 0; i < points.size(); ++i) {
    ASSERT_TRUE(sinks[i]->Wait().ok());
    const Work work = Expected(sinks[i]->sample(), num_layers, points[i].first);
    expected.row_layers += work.row_layers;
    expected.draft_row_layers += work.draft_row_layers;
    expected.head_rows += work.head_rows;
  }
  engine->WaitUntilIdle(Instant::max());
  const EngineCounters counters = engine->GetCounters();
  EXPECT_EQ(counters.preemptions, 0);
  EXPECT_GT(counters.accepted_tokens, 0);
  EXPECT_EQ(counters.row_layers, expected.row_layers);
  EXPECT_EQ(counters.draft_row_layers, expected.draft_row_layers);
  EXPECT_EQ(counters.head_rows, expected.head_rows);
  EXPECT_EQ(counters.logits_computed,
            expected.head_rows * engine->checkpoint().config().vocab_size);
}

INSTANTIATE_TEST_SUITE_P(Ranks, RowLayers, testing::Values(1, 2, 4));

}  // namespace
}  // namespace strata
