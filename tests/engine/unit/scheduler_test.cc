// The scheduler's named behaviours. Commits are simulated; no tensor is touched.

#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/engine/unit/fake_tokenizer.h"

namespace strata {
namespace {

using kernels::kKvBlockTokens;

class SchedulerTest : public testing::Test {
 protected:
  std::unique_ptr<Sequence> MakeSequence(int num_prompt_tokens, int max_new_tokens, int num_drafts,
                                         int max_context = 1'000) {
    auto request = std::make_shared<RequestState>();
    request->prompt.assign(num_prompt_tokens, 'p');
    request->prompt[0] = 1'000 + num_made_++;  // no two begin alike
    request->params.stopping.max_new_tokens = max_new_tokens;
    auto sequence = std::make_unique<Sequence>(request, 0, &tokenizer_, max_context, 0);
    sequence->exit_layer = 1;
    sequence->num_draft_tokens = num_drafts;
    return sequence;
  }

  // What a round does to a planned sequence, where `num_accepted` drafts are accepted.
  static void Execute(const PlanEntry& entry, int num_accepted) {
    Sequence& sequence = *entry.sequence;
    const int num_swept = sequence.num_computed() + entry.num_rows + entry.num_draft_tokens;
    const int total = static_cast<int>(sequence.tokens().size());
    if (sequence.num_computed() + entry.num_rows == total) {
      for (int i = 0; i <= num_accepted && !sequence.finish_reason(); ++i) {
        sequence.Commit('x', i < num_accepted, std::nullopt);
      }
    }
    sequence.set_num_computed(std::min(num_swept, static_cast<int>(sequence.tokens().size()) - 1));
  }
  // Runs a round in which no draft is accepted.
  static StepPlan RunRound(Scheduler& scheduler) {
    const StepPlan plan = scheduler.Plan();
    for (const PlanEntry& entry : plan.entries) Execute(entry, 0);
    scheduler.EndRound();
    return plan;
  }

  const FakeTokenizer tokenizer_;
  int num_made_ = 0;
};

TEST_F(SchedulerTest, PrefillsInChunksAndThenDecodes) {
  KvPool pool(10);
  Scheduler scheduler({/*max_batch_tokens=*/16, /*max_sequences=*/4, /*max_prefill_chunk=*/8},
                      &pool);
  const auto sequence = MakeSequence(19, 5, 0);
  scheduler.Add(sequence.get());
  EXPECT_EQ(scheduler.num_waiting(), 1);
  for (const int expected : {8, 8, 3, 1, 1}) {
    const StepPlan plan = RunRound(scheduler);
    ASSERT_EQ(plan.entries.size(), 1u);
    EXPECT_EQ(plan.entries[0].num_rows, expected);
    EXPECT_EQ(plan.entries[0].num_draft_tokens, 0);
  }
  EXPECT_EQ(scheduler.num_running(), 1);
  EXPECT_EQ(sequence->num_generated(), 3);
}

TEST_F(SchedulerTest, DecodesComeFirstAndPrefillsShareTheRest) {
  KvPool pool(20);
  Scheduler scheduler({12, 4, 12}, &pool);
  const auto decode = MakeSequence(4, 50, 2);
  const auto first = MakeSequence(30, 5, 0), second = MakeSequence(30, 5, 0);
  scheduler.Add(decode.get());
  RunRound(scheduler);
  scheduler.Add(first.get());
  scheduler.Add(second.get());
  for (int round = 0; round < 3; ++round) {
    const StepPlan plan = RunRound(scheduler);
    ASSERT_EQ(plan.entries.size(), 2u);
    EXPECT_EQ(plan.entries[0].sequence, decode.get());
    EXPECT_EQ(plan.entries[0].num_rows, 1);
    EXPECT_EQ(plan.entries[0].num_draft_tokens, 2);
    EXPECT_EQ(plan.entries[1].sequence, first.get());
    EXPECT_EQ(plan.entries[1].num_rows, 9);
  }
  // The oldest prompt ends with 3 rows and leaves the rest to the next.
  const StepPlan plan = RunRound(scheduler);
  ASSERT_EQ(plan.entries.size(), 3u);
  EXPECT_EQ(plan.entries[1].num_rows, 3);
  EXPECT_EQ(plan.entries[2].sequence, second.get());
  EXPECT_EQ(plan.entries[2].num_rows, 6);
}

TEST_F(SchedulerTest, DraftsLeaveEveryDecodeItsRow) {
  KvPool pool(20);
  Scheduler scheduler({5, 4, 5}, &pool);
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (int i = 0; i < 4; ++i) {
    sequences.push_back(MakeSequence(1, 50, 8));
    scheduler.Add(sequences.back().get());
  }
  RunRound(scheduler);
  const StepPlan plan = RunRound(scheduler);
  ASSERT_EQ(plan.entries.size(), 4u);
  EXPECT_EQ(plan.entries[0].num_draft_tokens, 1);
  for (int i = 1; i < 4; ++i) EXPECT_EQ(plan.entries[i].num_draft_tokens, 0);
}

TEST_F(SchedulerTest, DraftsTakeNoMoreThanAQuarterOfTheRowsFromPrompts) {
  KvPool pool(20);
  Scheduler scheduler({16, 4, 16}, &pool);
  const auto older = MakeSequence(1, 50, 8), newer = MakeSequence(1, 50, 8);
  const auto prompt = MakeSequence(29, 5, 0);
  scheduler.Add(older.get());
  scheduler.Add(newer.get());
  RunRound(scheduler);
  EXPECT_EQ(scheduler.Plan().entries[1].num_draft_tokens, 6);  // nobody waits: all 16 rows
  scheduler.Add(prompt.get());
  // Admitted in the first, running in the second, nearly done in the third.
  const std::vector<std::vector<int>> rounds = {{2, 0, 12}, {2, 0, 12}, {8, 1, 5}};
  for (const std::vector<int>& expected : rounds) {
    const StepPlan plan = RunRound(scheduler);
    ASSERT_EQ(plan.entries.size(), 3u);
    EXPECT_EQ(plan.entries[0].num_draft_tokens, expected[0]);
    EXPECT_EQ(plan.entries[1].num_draft_tokens, expected[1]);
    EXPECT_EQ(plan.entries[2].sequence, prompt.get());
    EXPECT_EQ(plan.entries[2].num_rows, expected[2]);
  }
}

TEST_F(SchedulerTest, DraftsLeaveRoomForTheTargetsOwnToken) {
  KvPool pool(20);
  Scheduler scheduler({64, 4, 64}, &pool);
  const auto by_request = MakeSequence(4, 4, 8);
  const auto by_context = MakeSequence(4, 100, 8, /*max_context=*/7);
  scheduler.Add(by_request.get());
  scheduler.Add(by_context.get());
  RunRound(scheduler);
  const StepPlan plan = scheduler.Plan();
  ASSERT_EQ(plan.entries.size(), 2u);
  EXPECT_EQ(plan.entries[0].num_draft_tokens, 2);  // 3 left
  EXPECT_EQ(plan.entries[1].num_draft_tokens, 1);  // 2 left
}

TEST_F(SchedulerTest, DraftsShrinkBeforeAnybodyIsPreempted) {
  // Each sequence has a block, whose 16 positions are full but for one; one block is free.
  KvPool pool(3);
  Scheduler scheduler({64, 4, 64}, &pool);
  const auto older = MakeSequence(14, 50, 4), newer = MakeSequence(14, 50, 4);
  scheduler.Add(older.get());
  RunRound(scheduler);
  scheduler.Add(newer.get());
  older->num_draft_tokens = newer->num_draft_tokens = 0;
  RunRound(scheduler);
  older->num_draft_tokens = newer->num_draft_tokens = 4;
  ASSERT_EQ(pool.num_available(), 1);
  const StepPlan plan = scheduler.Plan();
  ASSERT_EQ(plan.entries.size(), 2u);
  EXPECT_EQ(plan.num_preempted, 0);
  EXPECT_EQ(plan.entries[0].num_draft_tokens, 4);  // takes the free block
  EXPECT_EQ(plan.entries[1].num_draft_tokens, 0);
}

TEST_F(SchedulerTest, PreemptsNewestWhenPoolIsFull) {
  KvPool pool(3);
  Scheduler scheduler({64, 4, 64}, &pool);
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (int i = 0; i < 2; ++i) {
    sequences.push_back(MakeSequence(13, 30, 0));
    scheduler.Add(sequences.back().get());
    RunRound(scheduler);
  }
  Sequence *const oldest = sequences[0].get(), *const newest = sequences[1].get();
  int preempted = 0;
  while (preempted == 0) preempted = RunRound(scheduler).num_preempted;
  EXPECT_EQ(preempted, 1);
  EXPECT_EQ(scheduler.num_running(), 1);
  EXPECT_EQ(scheduler.num_waiting(), 1);
  EXPECT_EQ(newest->block_table().size(), 0u);
  EXPECT_EQ(newest->num_computed(), 0);
  EXPECT_EQ(oldest->block_table().size(), 3u);
  // What it had generated is kept and will be computed again.
  EXPECT_GT(newest->num_generated(), 1);
  EXPECT_EQ(newest->num_pending(), static_cast<int>(newest->tokens().size()));
}

TEST_F(SchedulerTest, APreemptedSequenceComesBackBeforeThoseThatWait) {
  KvPool pool(3);
  Scheduler scheduler({64, 2, 64}, &pool);
  const auto oldest = MakeSequence(13, 30, 0), newest = MakeSequence(13, 30, 0);
  const auto waiting = MakeSequence(1, 5, 0);
  for (Sequence* sequence : {oldest.get(), newest.get(), waiting.get()}) {
    scheduler.Add(sequence);
    RunRound(scheduler);
  }
  while (RunRound(scheduler).num_preempted == 0) {
  }
  // The oldest ends; of the two that wait, the preempted one is first.
  scheduler.Remove(oldest.get());
  const StepPlan plan = RunRound(scheduler);
  ASSERT_FALSE(plan.entries.empty());
  EXPECT_EQ(plan.entries[0].sequence, newest.get());
}

TEST_F(SchedulerTest, AdmissionLeavesABlockForEachRunningSequence) {
  KvPool pool(4);
  Scheduler scheduler({64, 4, 64}, &pool);
  const auto running = MakeSequence(4, 50, 0);
  const auto large = MakeSequence(3 * kKvBlockTokens, 5, 0);
  scheduler.Add(running.get());
  RunRound(scheduler);
  scheduler.Add(large.get());
  RunRound(scheduler);
  EXPECT_EQ(scheduler.num_waiting(), 1) << "3 blocks are free, but one is the running sequence's";
  const auto fitting = MakeSequence(2 * kKvBlockTokens, 5, 0);
  scheduler.Remove(large.get());
  scheduler.Add(fitting.get());
  RunRound(scheduler);
  EXPECT_EQ(scheduler.num_waiting(), 0);
}

TEST_F(SchedulerTest, AdmitsInOrderAndUpToTheLimit) {
  KvPool pool(20);
  Scheduler scheduler({64, 2, 64}, &pool);
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (int i = 0; i < 3; ++i) {
    sequences.push_back(MakeSequence(4, 5, 0));
    scheduler.Add(sequences.back().get());
  }
  const StepPlan plan = scheduler.Plan();
  ASSERT_EQ(plan.entries.size(), 2u);
  EXPECT_EQ(plan.entries[0].sequence, sequences[0].get());
  EXPECT_EQ(plan.entries[1].sequence, sequences[1].get());
  EXPECT_EQ(scheduler.num_running(), 2);
  EXPECT_EQ(scheduler.num_waiting(), 1);
}

TEST_F(SchedulerTest, RemoveGivesBackBlocksWhereverTheSequenceIs) {
  KvPool pool(20);
  Scheduler scheduler({64, 1, 64}, &pool);
  const auto running = MakeSequence(40, 5, 0), waiting = MakeSequence(4, 5, 0);
  scheduler.Add(running.get());
  scheduler.Add(waiting.get());
  RunRound(scheduler);
  EXPECT_EQ(pool.num_used(), 3);
  scheduler.Remove(waiting.get());
  scheduler.Remove(running.get());
  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_TRUE(scheduler.Plan().empty());
}

}  // namespace
}  // namespace strata
