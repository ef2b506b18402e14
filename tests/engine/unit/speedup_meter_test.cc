#include "engine/speedup_meter.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/engine/unit/fake_tokenizer.h"

namespace strata {
namespace {

// A pass takes 3 layers of a second each and 2 seconds of the head, whatever its rows.
CostProfile Costs() {
  CostProfile costs;
  costs.layer = {{1, 1}, {4096, 1}};
  costs.head = {{1, 2}, {4096, 2}};
  return costs;
}

class SpeedupMeterTest : public testing::Test {
 protected:
  // A sequence that decodes, or has a prompt to compute first.
  void Add(bool decodes = true) {
    auto request = std::make_shared<RequestState>();
    request->prompt.assign(5, 'p');
    request->params.stopping.max_new_tokens = 10;
    sequences_.push_back(std::make_unique<Sequence>(request, 0, &tokenizer_, 100, 0));
    Sequence& sequence = *sequences_.back();
    sequence.draft_row = std::make_unique<DraftRow>();
    if (decodes) {
      sequence.Commit('x', false, std::nullopt);
      sequence.set_num_computed(5);
    }
    PlanEntry entry;
    entry.sequence = &sequence;
    entry.num_rows = decodes ? 1 : 5;
    plan_.entries.push_back(entry);
  }

  double PlainSeconds(int drafted_tokens, int emitted_tokens) {
    RoundReport report;
    report.drafted_tokens = drafted_tokens;
    report.emitted_tokens = emitted_tokens;
    meter_.Begin(plan_);
    meter_.End(costs_, report);
    return report.plain_seconds;
  }

  const FakeTokenizer tokenizer_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
  StepPlan plan_;
  const CostModel costs_{Costs()};
  SpeedupMeter meter_{3};
};

TEST_F(SpeedupMeterTest, ComparesWithRoundsOfATokenPerSequence) {
  Add();
  Add();
  EXPECT_NEAR(PlainSeconds(8, 6), 15, 1e-6) << "three rounds of two tokens in five seconds";
}

TEST_F(SpeedupMeterTest, RoundsWithoutDraftsAreNotCounted) {
  Add();
  EXPECT_EQ(PlainSeconds(0, 1), 0);
}

TEST_F(SpeedupMeterTest, PromptsWouldBlurIt) {
  Add();
  Add(/*decodes=*/false);
  EXPECT_EQ(PlainSeconds(4, 3), 0);
}

TEST_F(SpeedupMeterTest, ARoundLeavesNothingToTheNext) {
  Add(/*decodes=*/false);
  EXPECT_EQ(PlainSeconds(2, 2), 0);
  plan_.entries.clear();
  Add();
  EXPECT_NEAR(PlainSeconds(2, 2), 10, 1e-6);
  EXPECT_NEAR(PlainSeconds(2, 2), 10, 1e-6);
}

}  // namespace
}  // namespace strata
