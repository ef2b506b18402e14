#include "bench/lane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/model/llama_model.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/support/fake_model.h"
#include "tests/support/test_models.h"

namespace strata::bench {
namespace {

using ::testing::ElementsAre;

// Keeps what it is asked.
class RecordingModel final : public FakeModel {
 public:
  RecordingModel() { limits_.num_kv_blocks = 30; }
  void Forward(const ForwardBatch& batch) override { asked = batch; }
  const float* Logits(std::span<const int32_t>, const Head&) override { return nullptr; }
  const float* ExitLogits(std::span<const int32_t>, const Head&) override { return nullptr; }

  ForwardBatch asked;
};

TEST(ModelPart, HasItsOwnPartOfTheKvCache) {
  RecordingModel whole;
  ModelPart part(&whole, 2, 3);
  EXPECT_EQ(part.limits().num_kv_blocks, 10);
  EXPECT_EQ(part.limits().max_exit_rows, whole.limits().max_exit_rows);
  ForwardBatch batch;
  batch.rows = {{7, 5, 0, {0, 4}, -1}, {8, 6, 0, {2, 4}, 3}};
  batch.taps = {{0, 2, 19}};
  batch.block_tables = {0, 9};
  batch.max_blocks_per_sequence = 2;
  part.Forward(batch);
  EXPECT_EQ(whole.asked.rows[1].token_id, 8);
  EXPECT_EQ(whole.asked.rows[1].exit_cache_row, 3);
  EXPECT_EQ(whole.asked.taps[0].exit_cache_row, 19);
  EXPECT_THAT(whole.asked.block_tables, ElementsAre(20, 29));
  EXPECT_EQ(whole.asked.max_blocks_per_sequence, 2);
}

class Lanes : public testing::Test {
 protected:
  void SetUp() override {
    checkpoint_ = *Checkpoint::Open(DemoModel());
    tokenizer_ = *Tokenizer::Open(DemoModel(), checkpoint_->config().vocab_size);
    ModelLimits limits;
    limits.max_rows = 64;
    limits.max_exit_rows = 80;
    limits.max_context = 96;
    limits.num_kv_blocks = 3 * 2 * (limits.max_context / kernels::kKvBlockTokens + 1);
    model_ = *LlamaModel::Create(*checkpoint_, backend_.get(), limits);
  }

  std::unique_ptr<Lane> MakeLane(int part, const Speculation& speculation, TokenId first) {
    CostProfile costs;
    costs.layer = costs.head = {{1, 1e-4}};
    auto lane = std::make_unique<Lane>(model_.get(), part, 3, tokenizer_.get(), &policy_, costs);
    GenerateRequest request;
    request.sampling.temperature = 0;
    request.stopping.max_new_tokens = 32;
    request.stopping.ignore_eos = true;
    request.speculation = speculation;
    GenerateRequest other = request;
    request.prompt = std::vector<TokenId>{first, 5, 6, 7};
    other.prompt = std::vector<TokenId>{first + 1, 9, 10, 11};
    EXPECT_TRUE(lane->Begin({request, other}).ok());
    return lane;
  }

  static void Generate(Lane& lane) {
    for (const int before = lane.num_generations(); lane.num_generations() == before;) {
      ASSERT_TRUE(lane.Step().ok());
    }
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<kernels::Backend> backend_ = kernels::CreateCpuBackend({});
  std::unique_ptr<Model> model_;
  const SpeculationPolicy policy_{16, {}};
  const Speculation drafting_{Speculation::Mode::kFixed, 4, 3, {}};
};

TEST_F(Lanes, CountRoundsInWhichAllDecode) {
  const auto lane = MakeLane(1, {}, 20);
  Generate(*lane);
  const Tally tally = lane->TakeTally();
  EXPECT_EQ(tally.tokens, 2 * 31);  // the first came with the prompt
  EXPECT_EQ(tally.sequence_rounds, 2 * 31);
  EXPECT_EQ(tally.drafted, 0);
  EXPECT_GT(tally.seconds, 0);
  EXPECT_EQ(lane->tally().tokens, 0);
  Generate(*lane);
  EXPECT_EQ(lane->tally().tokens, 2 * 31);
}

TEST_F(Lanes, RefuseWhatAnEngineWould) {
  const auto lane = MakeLane(0, {}, 20);
  GenerateRequest request;
  request.stopping.max_new_tokens = 8;
  request.prompt = std::vector<TokenId>(96, 5);
  EXPECT_EQ(lane->Begin({request}).code(), absl::StatusCode::kOutOfRange);
  request.prompt = std::vector<TokenId>{5};
  request.speculation = {Speculation::Mode::kFixed, 16, 2, {}};
  EXPECT_EQ(lane->Begin({request}).code(), absl::StatusCode::kInvalidArgument);
}

// What drafts are accepted depends on every key and value: others' would show.
TEST_F(Lanes, DoNotDisturbEachOther) {
  Tally alone;
  {
    const auto lane = MakeLane(0, drafting_, 20);
    Generate(*lane);
    alone = lane->TakeTally();
  }
  ASSERT_GT(alone.accepted, 0);
  ASSERT_LT(alone.accepted, alone.drafted);
  const auto before = MakeLane(0, drafting_, 40);
  const auto lane = MakeLane(1, drafting_, 20);
  const auto after = MakeLane(2, {}, 60);
  while (lane->num_generations() == 0) {
    for (Lane* each : {before.get(), lane.get(), after.get()}) ASSERT_TRUE(each->Step().ok());
  }
  EXPECT_EQ(lane->tally().tokens, alone.tokens);
  EXPECT_EQ(lane->tally().drafted, alone.drafted);
  EXPECT_EQ(lane->tally().accepted, alone.accepted);
}

}  // namespace
}  // namespace strata::bench
