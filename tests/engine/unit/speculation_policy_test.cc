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

void ExpectResolves(const SpeculationPolicy& policy, const Speculation& requested, int exit_layer,
                    int num_draft_tokens) {
  const Speculation resolved = policy.Resolve(requested);
  EXPECT_EQ(resolved.mode, requested.mode);
  EXPECT_EQ(resolved.exit_layer, exit_layer);
  EXPECT_EQ(resolved.num_draft_tokens, num_draft_tokens);
}

void ExpectOff(const SpeculationPolicy& policy, const Speculation& requested) {
  const Speculation resolved = policy.Resolve(requested);
  EXPECT_EQ(resolved.mode, Mode::kOff);
  EXPECT_EQ(resolved.exit_layer, 0);
  EXPECT_EQ(resolved.num_draft_tokens, 0);
}

TEST(SpeculationPolicy, AutoExitsAfterAnEighthOfTheLayers) {
  ExpectResolves(SpeculationPolicy(32, 0, 0), Auto(), 4, 2);
  ExpectResolves(SpeculationPolicy(80, 0, 0), Auto(), 10, 2);
  ExpectResolves(SpeculationPolicy(6, 0, 0), Auto(), 1, 2);
}

TEST(SpeculationPolicy, AutoIsTheOperatorsChoice) {
  ExpectResolves(SpeculationPolicy(32, 8, 6), Auto(), 8, 6);
}

TEST(SpeculationPolicy, AutoDraftsAtMostWhatIsAsked) {
  const SpeculationPolicy policy(32, 8, 6);
  ExpectResolves(policy, Auto(3), 8, 3);
  ExpectResolves(policy, Auto(20), 8, 6);
}

TEST(SpeculationPolicy, AutoTakesTheCandidateNearestToTheDefault) {
  const SpeculationPolicy policy(32, 8, 6);
  ExpectResolves(policy, Auto(0, {2, 20, 11}), 11, 6);
  ExpectResolves(policy, Auto(0, {31}), 31, 6);
}

TEST(SpeculationPolicy, FixedIsTakenAsItIs) {
  ExpectResolves(SpeculationPolicy(32, 8, 6), Fixed(13, 2), 13, 2);
}

TEST(SpeculationPolicy, OffOrWithoutDraftsIsOff) {
  const SpeculationPolicy policy(32, 8, 6);
  ExpectOff(policy, Speculation{});
  ExpectOff(policy, Fixed(13, 0));
  ExpectOff(SpeculationPolicy(1, 0, 0), Auto());
}

}  // namespace
}  // namespace strata
