#include "engine/speculation_policy.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace strata {
namespace {

using Mode = Speculation::Mode;

Speculation Auto(int most_drafts = 0, std::vector<int> exit_layers = {}) {
  Speculation speculation;
  speculation.mode = Mode::kAuto;
  speculation.num_draft_tokens = most_drafts;
  speculation.exit_layers = std::move(exit_layers);
  return speculation;
}

Speculation Fixed(int exit_layer, int num_draft_tokens) {
  Speculation speculation;
  speculation.mode = Mode::kFixed;
  speculation.exit_layer = exit_layer;
  speculation.num_draft_tokens = num_draft_tokens;
  return speculation;
}

void ExpectOff(const Speculation& resolved) {
  EXPECT_EQ(resolved.mode, Mode::kOff);
  EXPECT_EQ(resolved.exit_layer, 0);
  EXPECT_EQ(resolved.num_draft_tokens, 0);
}

TEST(SpeculationPolicy, FixedExitsAfterAnEighthOfTheLayersByDefault) {
  for (const auto& [num_layers, exit_layer] :
       std::vector<std::pair<int, int>>{{32, 4}, {80, 10}, {6, 1}}) {
    const Speculation fixed = SpeculationPolicy(num_layers, {}).default_fixed();
    EXPECT_EQ(fixed.mode, Mode::kFixed);
    EXPECT_EQ(fixed.exit_layer, exit_layer);
    EXPECT_EQ(fixed.num_draft_tokens, 2);
  }
}

TEST(SpeculationPolicy, FixedIsTheOperatorsChoiceWhereNobodySays) {
  const Speculation fixed = SpeculationPolicy(32, {8, 6}).default_fixed();
  EXPECT_EQ(fixed.exit_layer, 8);
  EXPECT_EQ(fixed.num_draft_tokens, 6);
}

TEST(SpeculationPolicy, AutoChoosesAmongFractionsOfTheDepthAndTheOperatorsExit) {
  EXPECT_EQ(SpeculationPolicy(32, {}).Resolve(Auto()).exit_layers,
            (std::vector<int>{2, 4, 6, 8, 12, 16}));
  EXPECT_EQ(SpeculationPolicy(32, {5, 0}).Resolve(Auto()).exit_layers,
            (std::vector<int>{2, 4, 5, 6, 8, 12, 16}));
  EXPECT_EQ(SpeculationPolicy(32, {31, 0}).Resolve(Auto()).exit_layers.back(), 31);
  EXPECT_EQ(SpeculationPolicy(2, {}).Resolve(Auto()).exit_layers, (std::vector<int>{1}));
  EXPECT_EQ(SpeculationPolicy(3, {}).Resolve(Auto()).exit_layers, (std::vector<int>{1, 2}));
}

TEST(SpeculationPolicy, AutoKeepsTheRequestsCandidates) {
  EXPECT_EQ(SpeculationPolicy(32, {}).Resolve(Auto(0, {20, 3})).exit_layers,
            (std::vector<int>{3, 20}));
}

TEST(SpeculationPolicy, NobodyDraftsMoreThanTheServersCap) {
  const SpeculationPolicy policy(32, {8, 6, 4});
  EXPECT_EQ(policy.Resolve(Auto()).num_draft_tokens, 4);
  EXPECT_EQ(policy.Resolve(Auto(3)).num_draft_tokens, 3);
  EXPECT_EQ(policy.Resolve(Auto(20)).num_draft_tokens, 4);
  EXPECT_EQ(policy.Resolve(Fixed(13, 9)).num_draft_tokens, 4);
  EXPECT_EQ(policy.default_fixed().num_draft_tokens, 4);
  ExpectOff(SpeculationPolicy(32, {8, 6, 0}).Resolve(Auto()));
  ExpectOff(SpeculationPolicy(32, {8, 6, 0}).Resolve(Fixed(13, 9)));
}

TEST(SpeculationPolicy, FixedIsTakenAsItIs) {
  const Speculation fixed = SpeculationPolicy(32, {8, 6}).Resolve(Fixed(13, 2));
  EXPECT_EQ(fixed.mode, Mode::kFixed);
  EXPECT_EQ(fixed.exit_layer, 13);
  EXPECT_EQ(fixed.num_draft_tokens, 2);
}

TEST(SpeculationPolicy, OffOrWithoutDraftsIsOff) {
  const SpeculationPolicy policy(32, {8, 6});
  ExpectOff(policy.Resolve(Speculation{}));
  ExpectOff(policy.Resolve(Fixed(13, 0)));
  ExpectOff(SpeculationPolicy(1, {}).Resolve(Auto()));
}

}  // namespace
}  // namespace strata
