#include "bench/simulator/simulated_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "bench/simulator/model_shapes.h"

namespace strata::sim {
namespace {

constexpr int kExit = 4;
constexpr int kLayers = 32;

class SimulatedModelTest : public testing::Test {
 protected:
  SimulatedModelTest()
      : roofline_(*FindModelShape("llama3-8b"), *FindHardware("1xH200"),
                  kernels::WeightFormat::kBF16, 1),
        process_(*TokenProcess::Create({{{kExit, 0.6}}}, kLayers, 1)),
        model_({64, 64, 64, 1024, 8}, &roofline_, &process_, &clock_, 0, 1) {}

  // Rows of one sequence whose first block is `block`.
  static ForwardBatch Batch(std::vector<ForwardRow> rows, int32_t block = 0) {
    ForwardBatch batch;
    batch.rows = std::move(rows);
    batch.block_tables = {block, block + 1};
    batch.max_blocks_per_sequence = 2;
    return batch;
  }
  static ForwardRow Row(TokenId token, int position, LayerRange layers = {0, kLayers},
                        int exit_row = -1) {
    ForwardRow row;
    row.token_id = token;
    row.position = position;
    row.layers = layers;
    row.exit_cache_row = exit_row;
    return row;
  }
  TokenId Likeliest(int32_t row) {
    const float* logits = model_.Logits(std::vector<int32_t>{row}, model_.head());
    return static_cast<TokenId>(std::max_element(logits, logits + TokenProcess::kAlphabet) -
                                logits);
  }
  TextState StateOf(const std::vector<TokenId>& tokens) const {
    TextState state = process_.Start();
    for (const TokenId token : tokens) state = process_.Append(state, token);
    return state;
  }

  const Roofline roofline_;
  const TokenProcess process_;
  VirtualClock clock_;
  SimulatedModel model_;
};

TEST_F(SimulatedModelTest, WritesTheProcessesText) {
  model_.Forward(Batch({Row(5, 0), Row(6, 1), Row(7, 2)}));
  EXPECT_EQ(Likeliest(2), process_.NextToken(StateOf({5, 6, 7})));
  EXPECT_EQ(Likeliest(0), process_.NextToken(StateOf({5})));
}

TEST_F(SimulatedModelTest, TextComesFromTheCacheAtHand) {
  model_.Forward(Batch({Row(5, 0)}, 0));
  model_.Forward(Batch({Row(9, 0)}, 2));
  model_.Forward(Batch({Row(6, 1)}, 2));
  EXPECT_EQ(Likeliest(0), process_.NextToken(StateOf({9, 6})));
}

TEST_F(SimulatedModelTest, DraftsAreTheExitsGuess) {
  model_.Forward(Batch({Row(5, 0)}));
  model_.Forward(Batch({Row(6, 1, {0, kExit}, 0)}));
  const TokenProcess::Guess guess = process_.GuessAt(StateOf({5, 6}), kExit);
  EXPECT_EQ(Likeliest(0), guess.token);
  const float* logits = model_.Logits(std::vector<int32_t>{0}, model_.head());
  EXPECT_NEAR(std::exp(logits[guess.token]), guess.confidence, 1e-5);
  double sum = 0;
  for (int i = 0; i < TokenProcess::kAlphabet; ++i) sum += std::exp(logits[i]);
  EXPECT_NEAR(sum, 1, 1e-5);
}

TEST_F(SimulatedModelTest, SelectedTokensHaveTheSameLogits) {
  model_.Forward(Batch({Row(5, 0)}));
  const std::vector<int32_t> rows = {0};
  const float* whole = model_.Logits(rows, model_.head());
  const std::vector<float> expected = {whole[2], whole[11]};
  const auto head = model_.SelectTokens({2, 11});
  ASSERT_TRUE(head.ok());
  const float* some = model_.Logits(rows, *head);
  EXPECT_EQ(std::vector<float>(some, some + 2), expected);
}

TEST_F(SimulatedModelTest, TakesTheTimeOfEachLayersRows) {
  model_.Forward(Batch({Row(5, 0), Row(6, 1)}));
  model_.Forward(Batch({Row(7, 2, {0, kExit}, 0)}));
  const double before = clock_.NowSeconds();
  // The newest draft runs all layers, the other enters at its exit.
  model_.Forward(Batch({Row(8, 3), Row(7, 2, {kExit, kLayers}, 0)}));
  const double expected = roofline_.ForwardSeconds() + kExit * roofline_.LayerSeconds({1, 4, 4}) +
                          (kLayers - kExit) * roofline_.LayerSeconds({2, 4, 7});
  EXPECT_NEAR(clock_.NowSeconds() - before, expected, 2e-9);
  EXPECT_EQ(model_.row_layers(), 2 * kLayers + kExit + kLayers + kLayers - kExit);
  EXPECT_EQ(model_.errors(), 0);
}

TEST_F(SimulatedModelTest, DraftsLeaveOneByOne) {
  ForwardBatch batch;
  batch.rows = {Row(5, 0, {0, 8}, 0), Row(6, 0, {0, 4}, 1)};
  batch.rows[1].sequence = 1;
  batch.block_tables = {0, 1};
  batch.max_blocks_per_sequence = 1;
  model_.Forward(batch);
  EXPECT_NEAR(clock_.NowSeconds(),
              roofline_.ForwardSeconds() + 4 * roofline_.LayerSeconds({2, 2, 2}) +
                  4 * roofline_.LayerSeconds({1, 1, 1}),
              2e-9);
}

TEST_F(SimulatedModelTest, HeadTakesItsTime) {
  model_.Forward(Batch({Row(5, 0), Row(6, 1)}));
  const double before = clock_.NowSeconds();
  model_.Logits(std::vector<int32_t>{0, 1}, model_.head());
  EXPECT_NEAR(clock_.NowSeconds() - before, roofline_.HeadSeconds(2, 128256), 2e-9);
  EXPECT_EQ(model_.head_rows(), 2);
}

TEST_F(SimulatedModelTest, TapsShowWhatOtherExitsWouldDraft) {
  ForwardBatch batch = Batch({Row(5, 0), Row(6, 1)});
  batch.taps = {{1, kExit, 7}, {0, 8, 3}};
  model_.Forward(batch);
  const float* logits = model_.ExitLogits(std::vector<int32_t>{3, 7}, model_.head());
  const auto likeliest = [](const float* row) {
    return static_cast<TokenId>(std::max_element(row, row + TokenProcess::kAlphabet) - row);
  };
  EXPECT_EQ(likeliest(logits), process_.GuessAt(StateOf({5}), 8).token);
  EXPECT_EQ(likeliest(logits + TokenProcess::kAlphabet),
            process_.GuessAt(StateOf({5, 6}), kExit).token);
  EXPECT_EQ(model_.errors(), 0);
}

TEST_F(SimulatedModelTest, NoticesAnothersHiddenState) {
  model_.Forward(Batch({Row(5, 0)}));
  model_.Forward(Batch({Row(6, 1, {0, kExit}, 0)}));
  model_.Forward(Batch({Row(7, 1, {kExit, kLayers}, 0)}));  // entered with the state of token 6
  EXPECT_EQ(model_.errors(), 1);
}

TEST_F(SimulatedModelTest, NoticesTapsBesideTheRow) {
  model_.Forward(Batch({Row(5, 0, {0, kExit}, 0)}));
  ForwardBatch batch = Batch({Row(5, 0, {kExit, kLayers}, 0)});
  batch.taps = {{0, kExit, 1}};
  model_.Forward(batch);
  EXPECT_EQ(model_.errors(), 1);
}

TEST_F(SimulatedModelTest, NoticesKvOfTooLittleDepth) {
  model_.Forward(Batch({Row(5, 0, {0, kExit}, 0)}));
  EXPECT_EQ(model_.errors(), 0);
  model_.Forward(Batch({Row(6, 1)}));  // attends to layers that position 0 has not
  EXPECT_EQ(model_.errors(), 1);
}

TEST_F(SimulatedModelTest, NoticesKvThatWasNeverComputed) {
  model_.Forward(Batch({Row(6, 1)}));
  EXPECT_EQ(model_.errors(), 1);
}

TEST_F(SimulatedModelTest, NoticesRowsThatEnterWhereTheyNeverLeft) {
  model_.Forward(Batch({Row(5, 0, {kExit, kLayers}, 0)}));
  EXPECT_EQ(model_.errors(), 2);  // neither KV nor a hidden state is there
}

TEST_F(SimulatedModelTest, TimeNoiseHasItsDeviationAndNoBias) {
  SimulatedModel noisy({64, 64, 64, 1024, 8}, &roofline_, &process_, &clock_, 0.1, 1);
  const double expected = roofline_.HeadSeconds(1, 128256);
  const std::vector<int32_t> rows = {0};
  noisy.Forward(Batch({Row(5, 0)}));
  double sum = 0, squares = 0;
  constexpr int kCalls = 20000;
  for (int i = 0; i < kCalls; ++i) {
    const double before = clock_.NowSeconds();
    noisy.Logits(rows, noisy.head());
    const double ratio = (clock_.NowSeconds() - before) / expected;
    sum += ratio;
    squares += ratio * ratio;
  }
  EXPECT_NEAR(sum / kCalls, 1, 0.003);
  EXPECT_NEAR(std::sqrt(squares / kCalls - 1), 0.1, 0.02);
}

}  // namespace
}  // namespace strata::sim
