// The chooser of the CUDA backend by itself, on emulated GPUs: that what it draws is distributed as
// it should be, by going through all random numbers; and how it is used.

#include "kernels/chooser.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "tests/cuda_emulator/emulator.h"

namespace strata::kernels {
namespace {

class CudaChooserTest : public testing::Test {
 protected:
  CudaChooserTest() {
    cuda_emulator::Configure({.lazy_streams = true});
    backend_ = CreateCudaBackend({WeightFormat::kF32, 0, true});
  }

  // Rows of logits in device memory.
  LogitRows Upload(const std::vector<std::vector<float>>& rows) {
    std::vector<float> all;
    for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
    memory_.push_back(backend_->Allocate(all.size() * sizeof(float)));
    backend_->CopyToDevice(memory_.back().data(), all.data(), all.size() * sizeof(float));
    return {memory_.back().View(DType::kF32, static_cast<int64_t>(rows.size()),
                                static_cast<int64_t>(rows[0].size())),
            nullptr};
  }

  std::unique_ptr<Backend> backend_;
  std::vector<Buffer> memory_;
};

// Logits of these probabilities.
std::vector<float> LogitsOf(const std::vector<double>& probs) {
  std::vector<float> logits;
  for (const double p : probs) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

// Drafts from q and verifies by p with all numbers of a grid on which both are exact: a token comes
// first, drafted or in a draft's place, just as often as p says.
TEST_F(CudaChooserTest, OneDraftIsDistributedAsTheTarget) {
  constexpr int kGrid = 8;
  constexpr int kCount = kGrid * kGrid * kGrid;
  const std::vector<double> p = {0.5, 0.25, 0.125, 0.125};
  const std::vector<double> q = {0.125, 0.125, 0.25, 0.5};
  for (const bool by_token : {false, true}) {
    SCOPED_TRACE(by_token ? "by token" : "as a block");
    std::vector<ChoiceSequence> sequences;
    std::vector<double> uniforms;
    std::vector<DraftChoice> drafts;
    std::vector<TargetChoice> targets;
    for (int i = 0; i < kCount; ++i) {
      ChoiceSequence& sequence = sequences.emplace_back();
      sequence.mode = ChoiceMode::kUnseeded;
      sequence.temperature = 1;
      sequence.first_slot = i;
      // The draft's, and two of its verification; what follows one that is accepted does not
      // matter.
      sequence.uniforms = {4 * i, 4 * i + 4};
      for (const int n : {i % kGrid, i / kGrid % kGrid, i / kGrid / kGrid, 0}) {
        uniforms.push_back((n + 0.5) / kGrid);
      }
      drafts.push_back({0, i, 0, i});
      targets.push_back({0, i, 0, 1, 2 * i});
      targets.push_back({1, i, 1, 1, 2 * i + 1});
    }
    const auto chooser = backend_->CreateChooser({4, 2 * kCount, kCount, int64_t{1} << 20});
    ASSERT_EQ(chooser->num_proposals(), kCount);
    ChoiceRound round;
    round.sequences = sequences;
    round.uniforms = uniforms;
    round.num_slots = kCount;
    round.num_targets = 2 * kCount;
    round.by_token = by_token;
    chooser->Begin(round);
    chooser->Draft(Upload({LogitsOf(q)}), drafts);
    chooser->Verify(Upload({LogitsOf(p), LogitsOf({0.25, 0.25, 0.25, 0.25})}), targets);
    const ChosenTokens chosen = chooser->Read();
    std::array<int, 4> first{};  // how often each token comes first
    int accepted = 0;
    for (int i = 0; i < kCount; ++i) {
      const ChosenTarget& row = chosen.targets[2 * i];
      const bool accepts =
          row.goes_on != 0 && chosen.targets[2 * i + 1].token != ChosenTarget::kNone;
      ++first[accepts ? chosen.drafts[i].token : row.token];
      accepted += accepts ? 1 : 0;
    }
    EXPECT_EQ(first, (std::array<int, 4>{256, 128, 64, 64}));
    EXPECT_EQ(accepted, 256);  // the sum of min(p, q)
  }
}

// A plain draw, by numbers on a grid: exactly in proportion to the probabilities.
TEST_F(CudaChooserTest, DrawsInProportion) {
  constexpr int kGrid = 64;
  const std::vector<double> p = {0.25, 0.125, 0.0625, 0.0625, 0.5};
  std::vector<ChoiceSequence> sequences(kGrid);
  std::vector<double> uniforms;
  std::vector<TargetChoice> targets;
  for (int i = 0; i < kGrid; ++i) {
    sequences[i].mode = ChoiceMode::kUnseeded;
    sequences[i].temperature = 1;
    sequences[i].uniforms = {i, i + 1};
    uniforms.push_back((i + 0.5) / kGrid);
    targets.push_back({0, i, 0, 0, i});
  }
  const auto chooser = backend_->CreateChooser({5, kGrid, 0, 0});
  ChoiceRound round;
  round.sequences = sequences;
  round.uniforms = uniforms;
  round.num_targets = kGrid;
  chooser->Begin(round);
  chooser->Verify(Upload({LogitsOf(p)}), targets);
  std::array<int, 5> drawn{};
  for (const ChosenTarget& target : chooser->Read().targets) ++drawn[target.token];
  EXPECT_EQ(drawn, (std::array<int, 5>{16, 8, 4, 4, 32}));
}

// Where all numbers are far out: the last token with any weight, never one without.
TEST_F(CudaChooserTest, NeverDrawsWhatHasNoWeight) {
  std::vector<float> logits(1000, -200.0f);
  logits[400] = 0;
  logits[600] = 0;
  std::vector<ChoiceSequence> sequences(2);
  const std::vector<double> uniforms = {0.0, 1.0};  // 1 is beyond any number that is drawn
  std::vector<TargetChoice> targets;
  for (int i = 0; i < 2; ++i) {
    sequences[i].mode = ChoiceMode::kUnseeded;
    sequences[i].temperature = 1;
    sequences[i].uniforms = {i, i + 1};
    targets.push_back({0, i, 0, 0, i});
  }
  const auto chooser = backend_->CreateChooser({1000, 2, 0, 0});
  ChoiceRound round;
  round.sequences = sequences;
  round.uniforms = uniforms;
  round.num_targets = 2;
  round.by_token = true;  // a block's last row draws numbers below its reach only
  chooser->Begin(round);
  chooser->Verify(Upload({logits}), targets);
  const ChosenTokens chosen = chooser->Read();
  EXPECT_EQ(chosen.targets[0].token, 400);
  EXPECT_EQ(chosen.targets[1].token, 600);
}

TEST_F(CudaChooserTest, NothingToChooseIsNoError) {
  const auto chooser = backend_->CreateChooser({10, 1, 1, 40});
  EXPECT_EQ(chooser->num_proposals(), 1);
  chooser->Begin({});
  chooser->Draft(Upload({std::vector<float>(10)}), {});
  chooser->Verify(Upload({std::vector<float>(10)}), {});
  EXPECT_TRUE(chooser->Read().targets.empty());
}

}  // namespace
}  // namespace strata::kernels
