// The scheduler's named behaviours, and a randomised check of what must hold in
// every round. Commits are simulated; no tensor is touched.

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
    request->params.stopping.max_new_tokens = max_new_tokens;
    auto sequence = std::make_unique<Sequence>(request, 0, &tokenizer_, max_context, 0);
    sequence->exit_layer = 1;
    sequence->num_draft_tokens = num_drafts;
    return sequence;
  }

  // What a round does to a planned sequence, where `num_accepted` drafts are accepted.
  static void Execute(const PlanEntry& entry, int num_accepted, BlockPool& pool) {
    Sequence& sequence = *entry.sequence;
    const int num_swept = sequence.num_computed() + entry.num_rows + entry.num_draft_tokens;
    const int total = static_cast<int>(sequence.tokens().size());
    if (sequence.num_computed() + entry.num_rows == total) {
      for (int i = 0; i <= num_accepted && !sequence.finish_reason(); ++i) {
        sequence.Commit('x', i < num_accepted, std::nullopt);
      }
    }
    sequence.set_num_computed(std::min(num_swept, static_cast<int>(sequence.tokens().size()) - 1));
    if (entry.num_draft_tokens > 0) sequence.TruncateKv(sequence.num_computed(), pool);
  }
  // Runs a round in which no draft is accepted.
  static StepPlan RunRound(Scheduler& scheduler, BlockPool& pool) {
    const StepPlan plan = scheduler.Plan();
    for (const PlanEntry& entry : plan.entries) Execute(entry, 0, pool);
    return plan;
  }

  const FakeTokenizer tokenizer_;
};

TEST_F(SchedulerTest, PrefillsInChunksAndThenDecodes) {
  BlockPool pool(10);
  Scheduler scheduler({/*max_batch_tokens=*/16, /*max_sequences=*/4, /*max_prefill_chunk=*/8},
                      &pool);
  const auto sequence = MakeSequence(19, 5, 0);
  scheduler.Add(sequence.get());
  EXPECT_EQ(scheduler.num_waiting(), 1);
  for (const int expected : {8, 8, 3, 1, 1}) {
    const StepPlan plan = RunRound(scheduler, pool);
    ASSERT_EQ(plan.entries.size(), 1u);
    EXPECT_EQ(plan.entries[0].num_rows, expected);
    EXPECT_EQ(plan.entries[0].num_draft_tokens, 0);
  }
  EXPECT_EQ(scheduler.num_running(), 1);
  EXPECT_EQ(sequence->num_generated(), 3);
}

TEST_F(SchedulerTest, DecodesComeFirstAndPrefillsShareTheRest) {
  BlockPool pool(20);
  Scheduler scheduler({12, 4, 12}, &pool);
  const auto decode = MakeSequence(4, 50, 2);
  const auto first = MakeSequence(30, 5, 0), second = MakeSequence(30, 5, 0);
  scheduler.Add(decode.get());
  RunRound(scheduler, pool);
  scheduler.Add(first.get());
  scheduler.Add(second.get());
  for (int round = 0; round < 3; ++round) {
    const StepPlan plan = RunRound(scheduler, pool);
    ASSERT_EQ(plan.entries.size(), 2u);
    EXPECT_EQ(plan.entries[0].sequence, decode.get());
    EXPECT_EQ(plan.entries[0].num_rows, 1);
    EXPECT_EQ(plan.entries[0].num_draft_tokens, 2);
    EXPECT_EQ(plan.entries[1].sequence, first.get());
    EXPECT_EQ(plan.entries[1].num_rows, 9);
  }
  // The oldest prompt ends with 3 rows and leaves the rest to the next.
  const StepPlan plan = RunRound(scheduler, pool);
  ASSERT_EQ(plan.entries.size(), 3u);
  EXPECT_EQ(plan.entries[1].num_rows, 3);
  EXPECT_EQ(plan.entries[2].sequence, second.get());
  EXPECT_EQ(plan.entries[2].num_rows, 6);
}

TEST_F(SchedulerTest, DraftsLeaveEveryDecodeItsRow) {
  BlockPool pool(20);
  Scheduler scheduler({5, 4, 5}, &pool);
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (int i = 0; i < 4; ++i) {
    sequences.push_back(MakeSequence(1, 50, 8));
    scheduler.Add(sequences.back().get());
  }
  RunRound(scheduler, pool);
  const StepPlan plan = RunRound(scheduler, pool);
  ASSERT_EQ(plan.entries.size(), 4u);
  EXPECT_EQ(plan.entries[0].num_draft_tokens, 1);
  for (int i = 1; i < 4; ++i) EXPECT_EQ(plan.entries[i].num_draft_tokens, 0);
}

TEST_F(SchedulerTest, DraftsLeaveAQuarterOfTheRowsToAPrompt) {
  BlockPool pool(20);
  Scheduler scheduler({16, 4, 16}, &pool);
  const auto older = MakeSequence(1, 50, 8), newer = MakeSequence(1, 50, 8);
  const auto prompt = MakeSequence(30, 5, 0);
  scheduler.Add(older.get());
  scheduler.Add(newer.get());
  RunRound(scheduler, pool);
  EXPECT_EQ(scheduler.Plan().entries[1].num_draft_tokens, 6);  // nobody waits: all 16 rows
  scheduler.Add(prompt.get());
  for (int round = 0; round < 2; ++round) {  // admitted in the first, running in the second
    const StepPlan plan = RunRound(scheduler, pool);
    ASSERT_EQ(plan.entries.size(), 3u);
    EXPECT_EQ(plan.entries[0].num_draft_tokens, 8);
    EXPECT_EQ(plan.entries[1].num_draft_tokens, 2);
    EXPECT_EQ(plan.entries[2].sequence, prompt.get());
    EXPECT_EQ(plan.entries[2].num_rows, 4);
  }
}

TEST_F(SchedulerTest, DraftsLeaveRoomForTheTargetsOwnToken) {
  BlockPool pool(20);
  Scheduler scheduler({64, 4, 64}, &pool);
  const auto by_request = MakeSequence(4, 4, 8);
  const auto by_context = MakeSequence(4, 100, 8, /*max_context=*/7);
  scheduler.Add(by_request.get());
  scheduler.Add(by_context.get());
  RunRound(scheduler, pool);
  const StepPlan plan = scheduler.Plan();
  ASSERT_EQ(plan.entries.size(), 2u);
  EXPECT_EQ(plan.entries[0].num_draft_tokens, 2);  // 3 left
  EXPECT_EQ(plan.entries[1].num_draft_tokens, 1);  // 2 left
}

TEST_F(SchedulerTest, DraftsShrinkBeforeAnybodyIsPreempted) {
  // Each sequence has a block, whose 16 positions are full but for one; one block is free.
  BlockPool pool(3);
  Scheduler scheduler({64, 4, 64}, &pool);
  const auto older = MakeSequence(14, 50, 4), newer = MakeSequence(14, 50, 4);
  scheduler.Add(older.get());
  RunRound(scheduler, pool);
  scheduler.Add(newer.get());
  older->num_draft_tokens = newer->num_draft_tokens = 0;
  RunRound(scheduler, pool);
  older->num_draft_tokens = newer->num_draft_tokens = 4;
  ASSERT_EQ(pool.num_free(), 1);
  const StepPlan plan = scheduler.Plan();
  ASSERT_EQ(plan.entries.size(), 2u);
  EXPECT_EQ(plan.num_preempted, 0);
  EXPECT_EQ(plan.entries[0].num_draft_tokens, 4);  // takes the free block
  EXPECT_EQ(plan.entries[1].num_draft_tokens, 0);
}

TEST_F(SchedulerTest, PreemptsNewestWhenPoolIsFull) {
  BlockPool pool(3);
  Scheduler scheduler({64, 4, 64}, &pool);
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (int i = 0; i < 2; ++i) {
    sequences.push_back(MakeSequence(13, 50, 0));
    scheduler.Add(sequences.back().get());
    RunRound(scheduler, pool);
  }
  Sequence *const oldest = sequences[0].get(), *const newest = sequences[1].get();
  int preempted = 0;
  while (preempted == 0) preempted = RunRound(scheduler, pool).num_preempted;
  EXPECT_EQ(preempted, 1);
  EXPECT_EQ(scheduler.num_running(), 1);
  EXPECT_EQ(scheduler.num_waiting(), 1);
  EXPECT_EQ(newest->block_table().size(), 0u);
  EXPECT_EQ(newest->num_computed(), 0);
  EXPECT_EQ(oldest->block_table().size(), 2u);
  // What it had generated is kept and will be computed again.
  EXPECT_GT(newest->num_generated(), 1);
  EXPECT_EQ(newest->num_pending(), static_cast<int>(newest->tokens().size()));
}

TEST_F(SchedulerTest, APreemptedSequenceComesBackBeforeThoseThatWait) {
  BlockPool pool(3);
  Scheduler scheduler({64, 2, 64}, &pool);
  const auto oldest = MakeSequence(13, 50, 0), newest = MakeSequence(13, 50, 0);
  const auto waiting = MakeSequence(1, 5, 0);
  for (Sequence* sequence : {oldest.get(), newest.get(), waiting.get()}) {
    scheduler.Add(sequence);
    RunRound(scheduler, pool);
  }
  while (RunRound(scheduler, pool).num_preempted == 0) {
  }
  // The oldest ends; of the two that wait, the preempted one is first.
  scheduler.Remove(oldest.get());
  const StepPlan plan = RunRound(scheduler, pool);
  ASSERT_FALSE(plan.entries.empty());
  EXPECT_EQ(plan.entries[0].sequence, newest.get());
}

TEST_F(SchedulerTest, AdmissionLeavesABlockForEachRunningSequence) {
  BlockPool pool(4);
  Scheduler scheduler({64, 4, 64}, &pool);
  const auto running = MakeSequence(4, 50, 0);
  const auto large = MakeSequence(3 * kKvBlockTokens, 5, 0);
  scheduler.Add(running.get());
  RunRound(scheduler, pool);
  scheduler.Add(large.get());
  RunRound(scheduler, pool);
  EXPECT_EQ(scheduler.num_waiting(), 1) << "3 blocks are free, but one is the running sequence's";
  const auto fitting = MakeSequence(2 * kKvBlockTokens, 5, 0);
  scheduler.Remove(large.get());
  scheduler.Add(fitting.get());
  RunRound(scheduler, pool);
  EXPECT_EQ(scheduler.num_waiting(), 0);
}

TEST_F(SchedulerTest, AdmitsInOrderAndUpToTheLimit) {
  BlockPool pool(20);
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
  BlockPool pool(20);
  Scheduler scheduler({64, 1, 64}, &pool);
  const auto running = MakeSequence(40, 5, 0), waiting = MakeSequence(4, 5, 0);
  scheduler.Add(running.get());
  scheduler.Add(waiting.get());
  RunRound(scheduler, pool);
  EXPECT_EQ(pool.num_used(), 3);
  scheduler.Remove(waiting.get());
  scheduler.Remove(running.get());
  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_TRUE(scheduler.Plan().empty());
}

// ---- Model check -----------------------------------------------------------------------------

class ModelCheck : public SchedulerTest {
 protected:
  void Run(uint64_t seed);
  void Arrive();
  void CheckPlan(const StepPlan& plan);
  void CheckBlocks();
  void CheckPreempted(const StepPlan& plan, const std::vector<Sequence*>& ran, bool oldest_decodes);
  void Admit(const StepPlan& plan);
  void ExecuteAll(const StepPlan& plan);

  int Int(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

  std::mt19937_64 random_;
  SchedulerLimits limits_;
  std::unique_ptr<BlockPool> pool_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::unique_ptr<Sequence>> alive_;  // in order of arrival
  std::vector<Sequence*> admitted_;               // in order of admission
  int64_t num_preempted_ = 0;
};

void ModelCheck::Arrive() {
  const int context = pool_->num_blocks() * kKvBlockTokens;
  const int prompt = Int(1, context - 1);
  alive_.push_back(
      MakeSequence(Int(0, 3) == 0 ? prompt : std::min(prompt, 20), Int(1, 60), Int(0, 8), context));
  scheduler_->Add(alive_.back().get());
}

void ModelCheck::CheckPlan(const StepPlan& plan) {
  int rows = 0;
  bool prefills_have_begun = false;
  std::set<const Sequence*> planned;
  for (const PlanEntry& entry : plan.entries) {
    const Sequence& sequence = *entry.sequence;
    ASSERT_TRUE(planned.insert(&sequence).second) << "planned twice";
    rows += entry.num_rows + entry.num_draft_tokens;
    ASSERT_GE(entry.num_rows, 1);
    ASSERT_LE(entry.num_rows, sequence.num_pending());
    ASSERT_LE(entry.num_rows, std::max(1, limits_.max_prefill_chunk));
    ASSERT_LE(entry.num_draft_tokens, sequence.num_draft_tokens);
    if (entry.num_draft_tokens > 0) {
      ASSERT_TRUE(sequence.decoding());
      ASSERT_LT(entry.num_draft_tokens, sequence.num_tokens_left());
    }
    const int end = sequence.num_computed() + entry.num_rows + entry.num_draft_tokens;
    ASSERT_EQ(sequence.NumBlocksMissing(end), 0) << "a planned position has no block";
    ASSERT_FALSE(sequence.decoding() && prefills_have_begun) << "a decode after a prefill";
    prefills_have_begun = prefills_have_begun || !sequence.decoding();
  }
  ASSERT_LE(rows, limits_.max_batch_tokens);
  ASSERT_LE(scheduler_->num_running(), limits_.max_sequences);
  ASSERT_EQ(plan.empty(), alive_.empty()) << "nothing is planned although something waits";
  num_preempted_ += plan.num_preempted;
}

// Each block has at most one owner, and all others are free.
void ModelCheck::CheckBlocks() {
  std::set<int32_t> owned;
  for (const auto& sequence : alive_) {
    for (const int32_t block : sequence->block_table()) {
      ASSERT_TRUE(owned.insert(block).second) << "block " << block << " has two owners";
    }
  }
  ASSERT_EQ(pool_->num_used(), static_cast<int>(owned.size()));
}

// Of those that ran before, the newest have gone; the oldest never, and where it decodes it is
// planned, whoever has to make room.
void ModelCheck::CheckPreempted(const StepPlan& plan, const std::vector<Sequence*>& ran,
                                bool oldest_decodes) {
  if (ran.empty()) return;
  const size_t kept = ran.size() - plan.num_preempted;
  ASSERT_GE(kept, 1u);
  for (size_t i = kept; i < ran.size(); ++i) {
    // It may have been let in again already, but then it begins anew.
    ASSERT_EQ(ran[i]->num_computed(), 0) << "not the newest were preempted";
  }
  const bool planned =
      std::any_of(plan.entries.begin(), plan.entries.end(),
                  [&](const auto& entry) { return entry.sequence == ran.front(); });
  ASSERT_TRUE(planned || !oldest_decodes) << "the oldest makes no progress";
  ASSERT_FALSE(ran.front()->block_table().empty());
}

// A sequence runs from when it gets blocks until it loses them.
void ModelCheck::Admit(const StepPlan& plan) {
  std::erase_if(admitted_, [](const Sequence* sequence) {
    return sequence->block_table().empty() || sequence->num_computed() == 0;
  });
  for (const PlanEntry& entry : plan.entries) {
    if (std::find(admitted_.begin(), admitted_.end(), entry.sequence) == admitted_.end()) {
      admitted_.push_back(entry.sequence);
    }
  }
}

void ModelCheck::ExecuteAll(const StepPlan& plan) {
  for (const PlanEntry& entry : plan.entries) {
    Execute(entry, Int(0, entry.num_draft_tokens), *pool_);
    if (!entry.sequence->finish_reason() && Int(0, 199) > 0) continue;  // else cancelled
    scheduler_->Remove(entry.sequence);
    std::erase(admitted_, entry.sequence);
    std::erase_if(alive_, [&](const auto& sequence) { return sequence.get() == entry.sequence; });
  }
}

void ModelCheck::Run(uint64_t seed) {
  random_.seed(seed);
  limits_.max_sequences = Int(1, 8);
  limits_.max_batch_tokens = Int(limits_.max_sequences, 40);
  limits_.max_prefill_chunk = Int(1, limits_.max_batch_tokens);
  pool_ = std::make_unique<BlockPool>(Int(1, 10));
  scheduler_ = std::make_unique<Scheduler>(limits_, pool_.get());
  int to_arrive = Int(1, 25);
  // Sequences run for at most 60 tokens and 160 positions, one of them at a time at worst; what is
  // preempted is computed again.
  for (int round = 0; to_arrive > 0 || !alive_.empty(); ++round) {
    ASSERT_LT(round, 25 * (60 + 160) * 4) << "not everything finishes";
    while (to_arrive > 0 && (alive_.empty() || Int(0, 5) == 0)) {
      Arrive();
      --to_arrive;
    }
    const std::vector<Sequence*> ran = admitted_;
    const bool oldest_decodes = !ran.empty() && ran.front()->decoding();
    const StepPlan plan = scheduler_->Plan();
    ASSERT_NO_FATAL_FAILURE(CheckPlan(plan));
    ASSERT_NO_FATAL_FAILURE(CheckBlocks());
    ASSERT_NO_FATAL_FAILURE(CheckPreempted(plan, ran, oldest_decodes));
    Admit(plan);
    ExecuteAll(plan);
  }
  EXPECT_EQ(pool_->num_free(), pool_->num_blocks());
  EXPECT_EQ(scheduler_->num_running() + scheduler_->num_waiting(), 0);
}

TEST_F(ModelCheck, RandomArrivalsLengthsDraftsAndTinyPools) {
  for (uint64_t seed = 0; seed < 4'000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ASSERT_NO_FATAL_FAILURE(Run(seed));
  }
  EXPECT_GT(num_preempted_, 3'000);
}

}  // namespace
}  // namespace strata
