// How the scheduler shares prefixes, rows, places and blocks. Rounds are simulated.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/engine/unit/scheduler_world.h"

namespace strata {
namespace {

using kernels::kKvBlockTokens;

Tenant Named(const std::string& name, int priority = 0) {
  Tenant tenant;
  tenant.name = name;
  tenant.priority = priority;
  return tenant;
}

int RowsOf(const Sequence* sequence, const StepPlan& plan) {
  for (const PlanEntry& entry : plan.entries) {
    if (entry.sequence == sequence) return entry.num_rows;
  }
  return 0;
}

// ---- Prefixes ----------------------------------------------------------------------------------

TEST(SharedPrefixes, OfRequestsThatComeAtOnceAreComputedOnce) {
  SchedulerWorld world({512, 64, 512}, 600);
  for (int i = 0; i < 32; ++i) {
    std::vector<TokenId> prompt = UniquePrompt(1'008, 0);
    std::fill(prompt.begin() + 1'000, prompt.end(), 2'000 + i);
    world.Add({.prompt = prompt, .max_new_tokens = 4});
  }
  world.RunAll();
  // 62 blocks are shared; each of the others computes what follows them.
  EXPECT_EQ(world.num_prefilled, 1'008 + 31 * 16);
  EXPECT_EQ(world.num_cached, 31 * 992);
}

TEST(SharedPrefixes, AreFoundLongAfterTheirRequestHasEnded) {
  SchedulerWorld world({64, 4, 64}, 40);
  for (int i = 0; i < 3; ++i) {
    world.Add({.prompt = UniquePrompt(100, 0), .max_new_tokens = 4});
    world.RunAll();
    world.Add({.prompt = UniquePrompt(100, 1 + i), .max_new_tokens = 4});
    world.RunAll();
  }
  EXPECT_EQ(world.num_cached, 2 * 96);
}

TEST(SharedPrefixes, TheLastTokenIsAlwaysComputed) {
  SchedulerWorld world({64, 4, 64}, 40);
  for (int i = 0; i < 2; ++i) {
    world.Add({.prompt = UniquePrompt(64, 0), .max_new_tokens = 1});
    world.RunAll();
  }
  EXPECT_EQ(world.num_prefilled, 64 + 16);
}

TEST(SharedPrefixes, SpareNoRowsWhoseLogProbabilitiesAreAskedFor) {
  SchedulerWorld world({64, 4, 64}, 40);
  world.Add({.prompt = UniquePrompt(100, 0), .max_new_tokens = 1});
  world.RunAll();
  world.Add({.prompt = UniquePrompt(100, 0), .max_new_tokens = 1, .prompt_logprobs = true});
  world.RunAll();
  EXPECT_EQ(world.num_prefilled, 200);
}

TEST(SharedPrefixes, AnswersArePartOfThem) {
  SchedulerWorld world({64, 4, 64}, 40);
  const Sequence* first = world.Add({.prompt = UniquePrompt(30, 0), .max_new_tokens = 40});
  std::vector<TokenId> conversation = world.ExpectedTokens(*first);
  world.RunAll();
  conversation.resize(80, 'q');
  world.Add({.prompt = conversation, .max_new_tokens = 1});
  world.RunAll();
  EXPECT_EQ(world.num_cached, 64) << "69 positions had been computed";
}

TEST(SharedPrefixes, AreATenantsOwnIfItSaysSo) {
  SchedulerWorld world({64, 4, 64}, 40);
  Tenant open = Named("open"), closed = Named("closed"), other = Named("other");
  closed.isolates_prefixes = other.isolates_prefixes = true;
  for (const Tenant& tenant : {open, closed, other}) {
    world.Add({.prompt = UniquePrompt(64, 0), .tenant = tenant});
    world.RunAll();
  }
  EXPECT_EQ(world.num_cached, 0);
  for (const Tenant& tenant : {Named(""), closed, other}) {
    world.Add({.prompt = UniquePrompt(64, 0), .tenant = tenant});
    world.RunAll();
  }
  EXPECT_EQ(world.num_cached, 3 * 48);
}

class Samples : public testing::TestWithParam<bool> {};

TEST_P(Samples, OfARequestShareItsPrompt) {
  SchedulerWorld world({128, 16, 64}, 400, /*prefix_cache=*/GetParam());
  world.Add({.prompt = UniquePrompt(100, 0), .max_new_tokens = 50}, 16);
  std::set<std::vector<TokenId>> answers;
  world.RunAll([&](const Sequence& sequence) {
    EXPECT_EQ(sequence.tokens(), world.ExpectedTokens(sequence));
    answers.insert(sequence.tokens());
  });
  EXPECT_EQ(world.num_prefilled, 100 + 15 * 4);
  EXPECT_EQ(answers.size(), 16u);
  EXPECT_EQ(world.pool.num_cached() > 0, GetParam());
}

TEST_P(Samples, ShareBlocksUntilTheyDiffer) {
  SchedulerWorld world({128, 16, 64}, 400, /*prefix_cache=*/GetParam());
  world.Add({.prompt = UniquePrompt(320, 0), .max_new_tokens = 100}, 16);
  for (int i = 0; i < 10; ++i) world.RunRound();
  // 20 blocks of prompt, and one of its own for each; 16 sequences of 21 blocks would be 336.
  EXPECT_LE(world.pool.num_used(), 20 + 16);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutCache, Samples, testing::Bool());

// ---- Rows --------------------------------------------------------------------------------------

TEST(Prefill, AShortPromptIsNotStuckBehindALongOne) {
  SchedulerWorld world({128, 16, 64}, 600);
  Sequence* long_prompt = world.Add({.prompt = UniquePrompt(6'000, 0), .max_new_tokens = 1});
  world.RunRound();
  Sequence* short_prompt = world.Add({.prompt = UniquePrompt(30, 1), .max_new_tokens = 1});
  const StepPlan& plan = world.RunRound();
  EXPECT_EQ(RowsOf(short_prompt, plan), 30);
  EXPECT_EQ(RowsOf(long_prompt, plan), 34) << "the rest";
}

TEST(Prefill, ALongPromptIsNotStarvedByShortOnes) {
  SchedulerWorld world({128, 16, 64}, 600);
  Sequence* long_prompt = world.Add({.prompt = UniquePrompt(6'000, 0), .max_new_tokens = 1});
  for (int serial = 1; long_prompt->num_generated() == 0; ++serial) {
    ASSERT_LE(serial, 2 * 6'000 / 64 + 1) << "less than half of the rows";
    world.Add({.prompt = UniquePrompt(60, serial), .max_new_tokens = 1});
    world.RunRound();
    for (Sequence* sequence : world.Finished()) {
      if (sequence != long_prompt) world.Remove(sequence);
    }
  }
}

TEST(Prefill, EqualPromptsAreFinishedOneAfterTheOther) {
  SchedulerWorld world({64, 16, 64}, 600);
  Sequence* first = world.Add({.prompt = UniquePrompt(100, 0), .max_new_tokens = 9});
  Sequence* second = world.Add({.prompt = UniquePrompt(100, 1), .max_new_tokens = 9});
  EXPECT_EQ(RowsOf(first, world.RunRound()), 64);
  const StepPlan& plan = world.RunRound();
  EXPECT_EQ(RowsOf(first, plan), 36);
  EXPECT_EQ(RowsOf(second, plan), 28);
}

// Those of one tenant that have a place already must not make another's wait, which came for less.
TEST(Prefill, OfPromptsAboutAsLongTheLeastServedTenantsIsFirst) {
  SchedulerWorld world({32, 40, 32}, 600);
  for (int i = 0; i < 30; ++i) {
    world.Add({.prompt = UniquePrompt(32, i), .max_new_tokens = 4, .tenant = Named("heavy")});
  }
  for (int round = 0; round < 3; ++round) world.RunRound();
  const Sequence* light =
      world.Add({.prompt = UniquePrompt(40, 100), .max_new_tokens = 4, .tenant = Named("light")});
  for (int round = 0; round < 4; ++round) world.RunRound();
  EXPECT_GT(light->num_generated(), 0);
}

TEST(Prefill, StreamsGetATokenInEveryRoundBesideALongPrompt) {
  SchedulerWorld world({256, 32, 128}, 800);
  std::vector<Sequence*> streams;
  for (int i = 0; i < 16; ++i) {
    streams.push_back(
        world.Add({.prompt = UniquePrompt(20, i), .max_new_tokens = 200, .num_drafts = i % 4}));
  }
  while (std::any_of(streams.begin(), streams.end(),
                     [](const Sequence* stream) { return stream->num_generated() == 0; })) {
    world.RunRound();
  }
  Sequence* prompt = world.Add({.prompt = UniquePrompt(6'000, 99), .max_new_tokens = 1});
  int rounds = 0;
  for (; prompt->num_generated() == 0; ++rounds) {
    std::map<const Sequence*, int> before;
    for (const Sequence* stream : streams) before[stream] = stream->num_generated();
    world.RunRound();
    for (const Sequence* stream : streams) EXPECT_GT(stream->num_generated(), before[stream]);
  }
  EXPECT_EQ(rounds, (6'000 + 127) / 128) << "128 rows in each";
}

// ---- Places ------------------------------------------------------------------------------------

TEST(Places, AHigherPriorityTakesOneAtOnceAndTheLowerGoesOnWhereItWas) {
  SchedulerWorld world({64, 2, 64}, 100);
  Sequence* older = world.Add({.prompt = UniquePrompt(40, 0), .max_new_tokens = 100});
  Sequence* newer = world.Add({.prompt = UniquePrompt(40, 1), .max_new_tokens = 100});
  for (int i = 0; i < 30; ++i) world.RunRound();
  Sequence* urgent =
      world.Add({.prompt = UniquePrompt(20, 2), .max_new_tokens = 2, .tenant = Named("boss", 1)});
  EXPECT_EQ(RowsOf(urgent, world.RunRound()), 20);
  EXPECT_TRUE(older->scheduling.running);
  EXPECT_FALSE(newer->scheduling.running);
  world.RunRound();
  ASSERT_TRUE(urgent->finish_reason());
  world.Remove(urgent);
  const int64_t prefilled = world.num_prefilled;
  world.RunRound();
  EXPECT_TRUE(newer->scheduling.running);
  EXPECT_LE(world.num_prefilled - prefilled, 16) << "its blocks were still cached";
  world.RunAll([&](const Sequence& sequence) {
    EXPECT_EQ(sequence.tokens(), world.ExpectedTokens(sequence));
  });
}

TEST(Places, ALowerPriorityWaitsForAllHigherOnes) {
  SchedulerWorld world({64, 1, 64}, 100);
  std::vector<Sequence*> order;
  const auto add = [&](int priority) {
    return world.Add({.prompt = UniquePrompt(4, world.num_rounds + priority + 5),
                      .max_new_tokens = 3,
                      .tenant = Named("t", priority)});
  };
  Sequence *low = add(-1), *middle = add(0), *high = add(1), *middle_too = add(0);
  world.RunAll(
      [&](const Sequence& sequence) { order.push_back(const_cast<Sequence*>(&sequence)); });
  EXPECT_EQ(order, (std::vector<Sequence*>{high, middle, middle_too, low}));
}

TEST(Places, ATenantWithLessThanItsShareTakesOneFromATenantWithMore) {
  SchedulerWorld world({64, 4, 64}, 400);
  std::vector<Sequence*> heavy;
  for (int i = 0; i < 8; ++i) {
    heavy.push_back(world.Add(
        {.prompt = UniquePrompt(20, i), .max_new_tokens = 300, .tenant = Named("heavy")}));
  }
  world.RunRound();
  for (int i = 0; i < 3; ++i) {
    world.Add({.prompt = UniquePrompt(20, 20 + i), .max_new_tokens = 300, .tenant = Named("new")});
  }
  for (int i = 0; i < 30; ++i) world.RunRound();
  EXPECT_EQ(world.scheduler.queue().Find("new")->num_running, 2) << "half of the places";
  EXPECT_TRUE(heavy[0]->scheduling.running && heavy[1]->scheduling.running);
  EXPECT_EQ(world.num_preempted, 2) << "and they do not take turns";
}

TEST(Places, ATenantKeepsItsShare) {
  SchedulerWorld world({64, 4, 64}, 400);
  std::map<std::string, Sequence*> last;
  for (const char* name : {"a", "a", "a", "b", "c"}) {
    last[name] = world.Add({.prompt = UniquePrompt(20, world.num_rounds),
                            .max_new_tokens = 300,
                            .tenant = Named(name)});
    world.RunRound();
  }
  EXPECT_TRUE(last["c"]->scheduling.running);
  EXPECT_TRUE(last["b"]->scheduling.running) << "the newest, but its tenant's only one";
  EXPECT_FALSE(last["a"]->scheduling.running);
  EXPECT_EQ(world.num_preempted, 1);
}

TEST(Places, ASequenceLosesItsPlaceToFairnessSeldom) {
  SchedulerWorld world({64, 2, 64}, 400);
  Sequence* victim = nullptr;
  for (int i = 0; i < 2; ++i) {
    victim = world.Add(
        {.prompt = UniquePrompt(20, i), .max_new_tokens = 3'000, .tenant = Named("heavy")});
  }
  world.RunRound();
  int light_at_once = 0;
  for (int i = 0; i < 50; ++i) {
    Sequence* light = world.Add(
        {.prompt = UniquePrompt(20, 100 + i), .max_new_tokens = 2, .tenant = Named("light")});
    light_at_once += RowsOf(light, world.RunRound()) > 0;
    while (!world.Finished().empty()) world.Remove(world.Finished()[0]);
    world.RunRound();
    while (!world.Finished().empty()) world.Remove(world.Finished()[0]);
  }
  EXPECT_EQ(victim->scheduling.num_displacements, Scheduler::kMostDisplacements);
  EXPECT_GE(light_at_once, Scheduler::kMostDisplacements);
}

TEST(Places, ATenantsLimitHoldsUpItselfOnly) {
  SchedulerWorld world({64, 4, 64}, 400);
  Tenant limited = Named("limited");
  limited.max_running = 1;
  for (int i = 0; i < 3; ++i) {
    world.Add({.prompt = UniquePrompt(20, i), .max_new_tokens = 9, .tenant = limited});
  }
  Sequence* other = world.Add({.prompt = UniquePrompt(20, 9), .tenant = Named("other")});
  EXPECT_EQ(RowsOf(other, world.RunRound()), 20);
  EXPECT_EQ(world.scheduler.num_running(), 2);
  world.RunAll();
}

TEST(Places, ALargeRequestIsNotOvertakenForEver) {
  SchedulerWorld world({64, 8, 64}, 20);
  for (int i = 0; i < 4; ++i) {
    world.Add({.prompt = UniquePrompt(20, i), .max_new_tokens = 40});
  }
  world.RunRound();
  Sequence* large = world.Add({.prompt = UniquePrompt(19 * kKvBlockTokens, 9)});
  for (int i = 0; large->num_generated() == 0; ++i) {
    ASSERT_LT(i, 60) << "four answers of 40 tokens, and its own rows";
    world.Add({.prompt = UniquePrompt(20, 100 + i), .max_new_tokens = 40});
    world.RunRound();
    for (Sequence* sequence : world.Finished()) {
      if (sequence != large) world.Remove(sequence);
    }
  }
}

// ---- Blocks ------------------------------------------------------------------------------------

TEST(Blocks, AQuarterOfThoseWantedIsEnoughToFinishEverything) {
  for (int seed = 0; seed < 4; ++seed) {
    constexpr int kSequences = 48, kPrompt = 64, kAnswer = 192;
    constexpr int kWanted = kSequences * (kPrompt + kAnswer) / kKvBlockTokens;
    SchedulerWorld world({256, kSequences, 128}, kWanted / 4);
    for (int i = 0; i < kSequences; ++i) {
      world.Add({.prompt = UniquePrompt(kPrompt, i),
                 .max_new_tokens = kAnswer,
                 .num_drafts = i % 5,
                 .seed = static_cast<uint64_t>(seed)});
    }
    const int bound = Scheduler::MostEvictions(kWanted / 4);
    world.RunAll([&](const Sequence& sequence) {
      EXPECT_EQ(sequence.tokens(), world.ExpectedTokens(sequence));
      EXPECT_LE(sequence.scheduling.num_evictions, bound);
    });
    EXPECT_GT(world.num_preempted, 0);
    EXPECT_LE(world.num_preempted, kSequences * bound);
    EXPECT_EQ(world.pool.num_used(), 0);
  }
}

// Ends come one after the other: each time there is room for the newest to come back, and not for
// long, if it comes back at once.
TEST(Blocks, ASequenceIsNotLetInAgainAndAgainToBeThrownOut) {
  constexpr int kBlocks = 128;
  SchedulerWorld world({256, 64, 128}, kBlocks);
  for (int i = 0; i < 48; ++i) {
    world.Add({.prompt = UniquePrompt(16, i), .max_new_tokens = 60 + 20 * i});
  }
  int most = 0;
  world.RunAll(
      [&](const Sequence& sequence) { most = std::max(most, sequence.scheduling.num_evictions); });
  EXPECT_GE(most, 2);
  EXPECT_LE(most, Scheduler::MostEvictions(kBlocks));
}

TEST(Blocks, TheBoundOnEvictionsIsTheLogarithmOfTheContext) {
  EXPECT_EQ(Scheduler::MostEvictions(1), 1);
  EXPECT_EQ(Scheduler::MostEvictions(2), 1);
  EXPECT_EQ(Scheduler::MostEvictions(32), 5);
  EXPECT_EQ(Scheduler::MostEvictions(33), 6);
  EXPECT_EQ(Scheduler::MostEvictions(8'192), 13);
}

TEST(Blocks, WhatIsPreemptedIsComputedAgainFromWhatTheCacheStillHas) {
  SchedulerWorld world({64, 2, 64}, 12);
  world.Add({.prompt = UniquePrompt(64, 0), .max_new_tokens = 90});
  world.Add({.prompt = UniquePrompt(64, 1), .max_new_tokens = 90});
  world.RunAll();
  EXPECT_GT(world.num_preempted, 0);
  EXPECT_GT(world.num_cached, 0);
}

}  // namespace
}  // namespace strata
