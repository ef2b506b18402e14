// A randomised check of what must hold in every round of scheduler, prefix cache
// and pool together, whatever arrives, ends and runs short.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/unit/scheduler_world.h"

namespace strata {
namespace {

using kernels::kKvBlockTokens;

class SchedulerModel : public testing::Test {
 protected:
  // One random world from its first request to its last.
  void Run(uint64_t seed);
  void Arrive();
  SequenceSpec AnySpec(int context);
  // Removes finished sequences, and now and then another one.
  void RemoveSome();
  void CheckRanks(const StepPlan& plan, const Sequence* first, bool first_decodes);

  int Int(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }
  bool Chance(double p) { return std::bernoulli_distribution(p)(random_); }

  std::mt19937_64 random_;
  std::unique_ptr<SchedulerWorld> world_;
  std::vector<Tenant> tenants_;
  std::vector<std::vector<TokenId>> prefixes_;
  bool classes_ = false;  // whether there are priorities and shares
  int64_t num_preempted_ = 0, num_cached_ = 0, most_evictions_ = 0, num_displaced_ = 0;
};

SequenceSpec SchedulerModel::AnySpec(int context) {
  SequenceSpec spec;
  const int length = Chance(0.3) ? Int(1, context - 1) : Int(1, std::min(20, context - 1));
  if (Chance(0.7)) spec.prompt = prefixes_[Int(0, static_cast<int>(prefixes_.size()) - 1)];
  spec.prompt.resize(length, 'p');
  for (int i = Int(0, length); i < length; ++i) spec.prompt[i] = 'p' + Int(0, 1);
  spec.max_new_tokens = Int(1, 60);
  spec.num_drafts = Int(0, 8);
  spec.seed = static_cast<uint64_t>(Int(0, 1));
  spec.prompt_logprobs = Chance(0.1);
  spec.tenant = tenants_[Int(0, static_cast<int>(tenants_.size()) - 1)];
  if (classes_ && Chance(0.2)) spec.tenant.priority = Int(-1, 1);
  return spec;
}

void SchedulerModel::Arrive() {
  world_->Add(AnySpec(world_->pool.num_blocks() * kKvBlockTokens), Chance(0.1) ? Int(2, 4) : 1);
}

// The first in rank never loses its place but to a higher priority or a smaller share; where it
// decodes it is planned, whoever has to make room.
void SchedulerModel::CheckRanks(const StepPlan& plan, const Sequence* first, bool first_decodes) {
  if (first == nullptr || classes_) return;
  ASSERT_TRUE(first->scheduling.running) << "the first in rank had to go";
  const bool planned = std::any_of(plan.entries.begin(), plan.entries.end(),
                                   [&](const auto& entry) { return entry.sequence == first; });
  ASSERT_TRUE(planned || !first_decodes) << "the first in rank makes no progress";
}

void SchedulerModel::RemoveSome() {
  std::vector<Sequence*> gone = world_->Finished();
  for (const Sequence* sequence : gone) {
    ASSERT_EQ(sequence->tokens(), world_->ExpectedTokens(*sequence));
    ASSERT_LE(sequence->scheduling.num_displacements, Scheduler::kMostDisplacements);
    most_evictions_ = std::max<int64_t>(most_evictions_, sequence->scheduling.num_evictions);
    num_displaced_ += sequence->scheduling.num_displacements;
    if (classes_) continue;
    ASSERT_LE(sequence->scheduling.num_evictions,
              Scheduler::MostEvictions(world_->pool.num_blocks()));
  }
  if (Chance(0.02) && !world_->sequences().empty()) {
    Sequence* cancelled =
        world_->sequences()[Int(0, static_cast<int>(world_->sequences().size()) - 1)].get();
    if (!cancelled->finish_reason()) gone.push_back(cancelled);
  }
  for (Sequence* sequence : gone) world_->Remove(sequence);
}

void SchedulerModel::Run(uint64_t seed) {
  random_.seed(seed);
  SchedulerLimits limits;
  limits.max_sequences = Int(1, 8);
  limits.max_batch_tokens = Int(limits.max_sequences, 40);
  limits.max_prefill_chunk = Int(1, limits.max_batch_tokens);
  classes_ = Chance(0.5);
  tenants_.assign(classes_ ? Int(1, 4) : 1, {});
  for (size_t i = 0; i < tenants_.size(); ++i) {
    tenants_[i].name = std::string(i, 't');
    tenants_[i].weight = Int(1, 3);
    tenants_[i].max_running = Chance(0.2) ? Int(1, 3) : 0;
    tenants_[i].isolates_prefixes = Chance(0.3);
  }
  prefixes_.assign(3, {});
  for (auto& prefix : prefixes_) prefix.assign(Int(1, 80), 'p' + Int(0, 3));
  world_ = std::make_unique<SchedulerWorld>(limits, Int(1, 10), /*prefix_cache=*/Chance(0.8));
  int to_arrive = Int(1, 25);
  for (int round = 0; to_arrive > 0 || !world_->sequences().empty(); ++round) {
    ASSERT_LT(round, 20'000) << "not everything finishes";
    while (to_arrive > 0 && (world_->sequences().empty() || Int(0, 5) == 0)) {
      Arrive();
      --to_arrive;
    }
    const Sequence* first = nullptr;
    for (const auto& sequence : world_->sequences()) {
      const SchedulingState& state = sequence->scheduling;
      if (state.running && (first == nullptr || state.admission < first->scheduling.admission)) {
        first = sequence.get();
      }
    }
    const bool first_decodes = first != nullptr && first->decoding();
    const StepPlan& plan =
        world_->RunRound([this](const PlanEntry& entry) { return Int(0, entry.num_draft_tokens); });
    ASSERT_FALSE(HasFailure());
    ASSERT_FALSE(plan.empty()) << "nothing is planned although something waits";
    ASSERT_NO_FATAL_FAILURE(CheckRanks(plan, first, first_decodes));
    ASSERT_NO_FATAL_FAILURE(RemoveSome());
  }
  EXPECT_EQ(world_->pool.num_used(), 0);
  EXPECT_EQ(world_->scheduler.num_running() + world_->scheduler.num_waiting(), 0);
  num_preempted_ += world_->num_preempted;
  num_cached_ += world_->num_cached;
}

TEST_F(SchedulerModel, RandomArrivalsPrefixesLengthsDraftsTenantsAndTinyPools) {
  for (uint64_t seed = 0; seed < 4'000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ASSERT_NO_FATAL_FAILURE(Run(seed));
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(num_preempted_, 3'000);
  EXPECT_GT(num_cached_, 100'000);
  EXPECT_GT(num_displaced_, 100);
  EXPECT_GE(most_evictions_, 2);
}

}  // namespace
}  // namespace strata
