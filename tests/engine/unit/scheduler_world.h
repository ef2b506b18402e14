// A scheduler whose rounds are simulated: no tensors, no clock.
//
// What stands for the keys and values of a position is a hash of all tokens up to
// it, written into the block that the plan says, and checked before anything is
// "computed" from it. So a wrong or overwritten block is noticed, as it would be
// by a model. Tokens are a function of those before them and of the sequence's
// seed: it does not matter when and beside whom they are computed.

#ifndef STRATA_TESTS_ENGINE_UNIT_SCHEDULER_WORLD_H_
#define STRATA_TESTS_ENGINE_UNIT_SCHEDULER_WORLD_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/random.h"
#include "engine/scheduler.h"
#include "tests/engine/unit/fake_tokenizer.h"

namespace strata {

struct SequenceSpec {
  std::vector<TokenId> prompt;
  int max_new_tokens = 1;
  int num_drafts = 0;
  uint64_t seed = 0;
  bool prompt_logprobs = false;
  Tenant tenant = {};
};

// A prompt of its own: no other begins with `serial`.
inline std::vector<TokenId> UniquePrompt(int num_tokens, TokenId serial) {
  std::vector<TokenId> prompt(num_tokens, 'p');
  prompt[0] = 1'000 + serial;
  return prompt;
}

class SchedulerWorld {
 public:
  SchedulerWorld(const SchedulerLimits& limits, int num_blocks, bool prefix_cache = true)
      : pool(num_blocks, prefix_cache),
        scheduler(limits, &pool),
        limits_(limits),
        max_context_(num_blocks * kernels::kKvBlockTokens),
        contents_(num_blocks) {}

  // Several with one request are its samples.
  Sequence* Add(const SequenceSpec& spec, int num_samples = 1) {
    auto request = std::make_shared<RequestState>();
    request->id = ++num_requests_;
    request->prompt = spec.prompt;
    request->params.stopping.max_new_tokens = spec.max_new_tokens;
    request->params.output.prompt_logprobs = spec.prompt_logprobs;
    request->params.tenant = spec.tenant;
    Sequence* first = nullptr;
    for (int i = 0; i < num_samples; ++i) {
      sequences_.push_back(
          std::make_unique<Sequence>(request, i, &tokenizer_, max_context_, /*rng_key=*/0));
      Sequence* sequence = sequences_.back().get();
      sequence->exit_layer = 1;
      sequence->num_draft_tokens = spec.num_drafts;
      info_[sequence].seed = spec.seed + static_cast<uint64_t>(i);
      scheduler.Add(sequence);
      if (first == nullptr) first = sequence;
    }
    return first;
  }

  void Remove(Sequence* sequence) {
    scheduler.Remove(sequence);
    info_.erase(sequence);
    std::erase_if(sequences_, [&](const auto& other) { return other.get() == sequence; });
  }

  // Plans and runs a round. `accept(entry)`: how many drafts of an entry are accepted.
  // Finished sequences stay until they are removed.
  const StepPlan& RunRound(const std::function<int(const PlanEntry&)>& accept = [](const auto&) {
    return 0;
  }) {
    const StepPlan& plan = scheduler.Plan();
    CheckPlan(plan);
    for (const PlanEntry& entry : plan.entries) Execute(entry, accept(entry));
    scheduler.EndRound();
    ++num_rounds;
    num_preempted += plan.num_preempted;
    num_cached += plan.num_cached_tokens;
    CheckBlocks();
    return plan;
  }
  // Runs rounds until all have finished, and removes them. `finished(sequence)` sees each before.
  void RunAll(const std::function<void(const Sequence&)>& finished = [](const auto&) {}) {
    for (int idle = 0; !sequences_.empty() && idle < 2;) {
      idle = RunRound().empty() ? idle + 1 : 0;
      for (Sequence* sequence : Finished()) {
        finished(*sequence);
        Remove(sequence);
      }
    }
    EXPECT_TRUE(sequences_.empty()) << "nothing is planned although something waits";
  }

  std::vector<Sequence*> Finished() const {
    std::vector<Sequence*> finished;
    for (const auto& sequence : sequences_) {
      if (sequence->finish_reason()) finished.push_back(sequence.get());
    }
    return finished;
  }
  const std::vector<std::unique_ptr<Sequence>>& sequences() const { return sequences_; }

  // What the sequence will have generated in the end.
  std::vector<TokenId> ExpectedTokens(const Sequence& sequence) const {
    std::vector<TokenId> tokens = sequence.request()->prompt;
    uint64_t state = 0;
    for (const TokenId id : tokens) state = Next(state, id);
    const size_t end = std::min<size_t>(
        tokens.size() + sequence.request()->params.stopping.max_new_tokens, max_context_);
    while (tokens.size() < end) {
      tokens.push_back(TokenAfter(state, info_.at(&sequence).seed));
      state = Next(state, tokens.back());
    }
    return tokens;
  }

  KvPool pool;
  Scheduler scheduler;
  int num_rounds = 0;
  int64_t num_preempted = 0;
  int64_t num_cached = 0;
  int64_t num_prefilled = 0;  // rows of prompts, and of what is computed again

 private:
  struct Info {
    uint64_t seed = 0;
    std::vector<uint64_t> states;  // after each token
  };

  static uint64_t Next(uint64_t state, TokenId id) {
    return Mix64(state ^ Mix64(static_cast<uint32_t>(id) + 1));
  }
  // One of two: sequences often go on alike for a while.
  static TokenId TokenAfter(uint64_t state, uint64_t seed) {
    return 'x' + static_cast<TokenId>(Mix64(state ^ seed) % 2);
  }

  uint64_t& ContentAt(const Sequence& sequence, int position) {
    const int32_t block = sequence.block_table()[position / kernels::kKvBlockTokens];
    return contents_[block][position % kernels::kKvBlockTokens];
  }
  const std::vector<uint64_t>& StatesOf(const Sequence& sequence) {
    std::vector<uint64_t>& states = info_.at(&sequence).states;
    while (states.size() < sequence.tokens().size()) {
      states.push_back(Next(states.empty() ? 0 : states.back(), sequence.tokens()[states.size()]));
    }
    return states;
  }

  void CheckPlan(const StepPlan& plan) {
    int rows = 0, prefill_rows = 0;
    std::map<const Sequence*, int> planned;
    for (const PlanEntry& entry : plan.entries) {
      const Sequence& sequence = *entry.sequence;
      EXPECT_EQ(++planned[&sequence], 1) << "planned twice";
      rows += entry.num_rows + entry.num_draft_tokens;
      if (!sequence.decoding()) prefill_rows += entry.num_rows;
      EXPECT_GE(entry.num_rows, 1);
      EXPECT_LE(entry.num_rows, sequence.num_pending());
      EXPECT_LE(entry.num_draft_tokens, sequence.num_draft_tokens);
      if (entry.num_draft_tokens > 0) {
        EXPECT_TRUE(sequence.decoding());
        EXPECT_LT(entry.num_draft_tokens, sequence.num_tokens_left());
      }
      const int end = sequence.num_computed() + entry.num_rows + entry.num_draft_tokens;
      EXPECT_EQ(sequence.NumBlocksMissing(end), 0) << "a planned position has no block";
    }
    EXPECT_LE(rows, limits_.max_batch_tokens);
    EXPECT_LE(prefill_rows, limits_.max_prefill_chunk);
    EXPECT_LE(scheduler.num_running(), limits_.max_sequences);
  }

  // What a round does to a planned sequence.
  void Execute(const PlanEntry& entry, int num_accepted) {
    Sequence& sequence = *entry.sequence;
    const int first = sequence.num_computed();
    const int end = first + entry.num_rows + entry.num_draft_tokens;
    if (!sequence.decoding()) num_prefilled += entry.num_rows;
    for (int i = 0; i < first; ++i) {
      ASSERT_EQ(ContentAt(sequence, i), StatesOf(sequence)[i]) << "wrong KV at position " << i;
    }
    if (first + entry.num_rows == static_cast<int>(sequence.tokens().size())) {
      for (int i = 0; i <= num_accepted && !sequence.finish_reason(); ++i) {
        sequence.Commit(TokenAfter(StatesOf(sequence).back(), info_.at(&sequence).seed),
                        i < num_accepted, std::nullopt);
      }
    }
    const std::vector<uint64_t>& states = StatesOf(sequence);
    for (int i = first; i < end; ++i) {
      const int32_t block = sequence.block_table()[i / kernels::kKvBlockTokens];
      ASSERT_EQ(pool.num_references(block), 1) << "writes a block that another one uses";
      ASSERT_FALSE(pool.is_published(block)) << "writes a block that can be found";
      const bool committed =
          i <= first + entry.num_rows - 1 + num_accepted && i < static_cast<int>(states.size());
      ContentAt(sequence, i) = committed ? states[i] : ~uint64_t{0};  // a rejected draft's
    }
    ReportPromptLogprobs(sequence, first, end);
    sequence.set_num_computed(std::min(end, static_cast<int>(sequence.tokens().size()) - 1));
  }

  static void ReportPromptLogprobs(Sequence& sequence, int first, int end) {
    if (!sequence.request()->params.output.prompt_logprobs) return;
    int& next = sequence.next_prompt_logprob;
    if (next >= sequence.num_prompt_tokens()) return;
    EXPECT_LT(first, next) << "a row that was to be reported has been skipped";
    next = std::max(next, std::min(end + 1, sequence.num_prompt_tokens()));
  }

  // References are those of block tables, and nothing else is in use.
  void CheckBlocks() {
    std::map<int32_t, int> references;
    for (const auto& sequence : sequences_) {
      for (const int32_t block : sequence->block_table()) ++references[block];
    }
    EXPECT_EQ(pool.num_used(), static_cast<int>(references.size()));
    for (int block = 0; block < pool.num_blocks(); ++block) {
      const auto it = references.find(block);
      EXPECT_EQ(pool.num_references(block), it == references.end() ? 0 : it->second);
    }
  }

  const SchedulerLimits limits_;
  const int max_context_;
  const FakeTokenizer tokenizer_;
  std::vector<std::array<uint64_t, kernels::kKvBlockTokens>> contents_;
  std::vector<std::unique_ptr<Sequence>> sequences_;  // in order of arrival
  std::map<const Sequence*, Info> info_;
  uint64_t num_requests_ = 0;
};

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_UNIT_SCHEDULER_WORLD_H_
