#include "engine/policy/acceptance_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/policy/tenant_factors.h"

namespace strata {
namespace {

using Mode = Sampler::Mode;
constexpr int kAny = AcceptanceModel::kAny;

// Of one tenant, with a request for each draft.
struct LearningModel : AcceptanceModel {
  using AcceptanceModel::AcceptanceModel;
  using AcceptanceModel::Learn;

  // By how much the draft's chance has moved.
  double Learn(Mode mode, int exit_layer, int index, int previous, int confidence,
               double accepted) {
    const double before = BeforeDraft(mode, exit_layer, index, previous);
    OddsFactor request = {1, 0}, traffic = {1, 0};
    Learn(mode, exit_layer, index, previous, confidence, accepted, traffic, request);
    return BeforeDraft(mode, exit_layer, index, previous) - before;
  }

  OddsFactor tenant = {1, kTenantPrior.variance};
};

TEST(AcceptanceModel, GuessesMoreOfDeeperExits) {
  const AcceptanceModel model(32);
  double last = 0;
  for (int exit = 1; exit < 32; ++exit) {
    const double chance = model.BeforeDraft(Mode::kGreedy, exit, 0, kAny);
    EXPECT_GT(chance, last);
    EXPECT_LT(chance, 1);
    last = chance;
  }
}

TEST(AcceptanceModel, LearnsByExitPositionAndConfidence) {
  LearningModel model(32);
  std::mt19937 random(1);
  const auto chance = [](int exit, int index, int confidence) {
    return 0.1 + 0.1 * (exit / 8) + 0.07 * confidence - 0.03 * std::min(index, 3);
  };
  for (int i = 0; i < 20000; ++i) {
    const int exit = i % 2 == 0 ? 8 : 16;
    int previous = kAny;
    for (int index = 0; index < 4; ++index) {
      const int confidence = std::uniform_int_distribution(0, 7)(random);
      const bool accepted = std::bernoulli_distribution(chance(exit, index, confidence))(random);
      model.Learn(Mode::kSeeded, exit, index, previous, confidence, accepted);
      if (!accepted) break;
      previous = confidence;
    }
  }
  for (const int exit : {8, 16}) {
    for (const int confidence : {0, 4, 7}) {
      for (const int index : {0, 1}) {
        EXPECT_NEAR(model.AfterDraft(Mode::kSeeded, exit, index, confidence),
                    chance(exit, index, confidence), 0.12)
            << exit << " " << index << " " << confidence;
      }
    }
  }
  EXPECT_GT(model.BeforeDraft(Mode::kSeeded, 16, 0, kAny),
            model.BeforeDraft(Mode::kSeeded, 8, 0, kAny));
  // Other modes and exits have learnt nothing.
  EXPECT_EQ(model.BeforeDraft(Mode::kGreedy, 8, 0, kAny),
            AcceptanceModel(32).BeforeDraft(Mode::kGreedy, 8, 0, kAny));
}

// What one exit shows about later drafts serves the others.
TEST(AcceptanceModel, CarriesTheTrendOfLaterDraftsOverToOtherExits) {
  LearningModel model(32);
  for (int i = 0; i < 500; ++i) {
    model.Learn(Mode::kGreedy, 4, 0, kAny, 5, i % 2);
    model.Learn(Mode::kGreedy, 4, 1, 5, 5, i % 10 != 0);
    model.Learn(Mode::kGreedy, 8, 0, kAny, 5, i % 2);
  }
  EXPECT_NEAR(model.BeforeDraft(Mode::kGreedy, 8, 0, kAny), 0.5, 0.05);
  EXPECT_GT(model.BeforeDraft(Mode::kGreedy, 8, 1, kAny), 0.75);
}

TEST(AcceptanceModel, ForgetsOldTimes) {
  LearningModel model(32);
  for (int i = 0; i < 10000; ++i) model.Learn(Mode::kGreedy, 4, 0, kAny, kAny, 1);
  for (int i = 0; i < 600; ++i) model.Learn(Mode::kGreedy, 4, 0, kAny, kAny, 0);
  EXPECT_LT(model.BeforeDraft(Mode::kGreedy, 4, 0, kAny), 0.15);
}

TEST(AcceptanceModel, ChancesStayInsideTheirRange) {
  LearningModel model(4);
  for (int i = 0; i < 2000; ++i) {
    for (int index = 0; index < 8; ++index) {
      const int previous = index == 0 ? kAny : 7;
      model.Learn(Mode::kGreedy, 2, index, previous, 7, 1);
      model.Learn(Mode::kGreedy, 1, index, previous, 0, 0);
    }
  }
  for (int index = 0; index < 8; ++index) {
    for (int c = 0; c <= kAny; ++c) {
      for (const int exit : {1, 2}) {
        const double chance = model.BeforeDraft(Mode::kGreedy, exit, index, c);
        EXPECT_GT(chance, 0);
        EXPECT_LT(chance, 1);
      }
    }
  }
}

TEST(AcceptanceModel, ConfidenceClassesCoverEverything) {
  EXPECT_EQ(AcceptanceModel::ConfidenceClass(0), AcceptanceModel::kAny);
  EXPECT_EQ(AcceptanceModel::ConfidenceClass(1e-9), 0);
  EXPECT_EQ(AcceptanceModel::ConfidenceClass(1), AcceptanceModel::kNumConfidences - 1);
  int last = 0;
  for (double c = 0.001; c <= 1; c += 0.001) {
    const int now = AcceptanceModel::ConfidenceClass(c);
    EXPECT_TRUE(now == last || now == last + 1);
    last = now;
  }
}

TEST(AcceptanceModel, CalibrationErrorIsTheDistanceFromWhatCame) {
  AcceptanceModel model(4);
  EXPECT_EQ(model.calibration_error(), 0);
  for (int i = 0; i < 2000; ++i) model.NoteOutcome(0.85, i % 2);
  EXPECT_NEAR(model.calibration_error(), 0.35, 0.01);
  for (int i = 0; i < 2000; ++i) model.NoteOutcome(0.25, i % 4 == 0);
  EXPECT_NEAR(model.calibration_error(), 0.175, 0.02);
}

// What is known of an exit is not known worse because somebody's drafts differ.
TEST(AcceptanceModel, PutsDownToARequestWhatItsOwnDraftsDo) {
  LearningModel model(32);
  for (int i = 0; i < 1000; ++i) {
    OddsFactor request = {1, kRequestPrior.variance};
    model.Learn(Mode::kGreedy, 4, 0, kAny, kAny, i % 2, model.tenant, request);
  }
  OddsFactor other = {1, kRequestPrior.variance};
  for (int i = 0; i < 40; ++i) {
    model.Learn(Mode::kGreedy, 4, 0, kAny, kAny, 1, model.tenant, other);
  }
  EXPECT_GT(other.odds, 2);
  EXPECT_NEAR(WithOdds(model.BeforeDraft(Mode::kGreedy, 4, 0, kAny), model.tenant.odds), 0.5, 0.15);
}

// The more outcomes of others an exit has not been seen in, the more one of its own tells.
TEST(AcceptanceModel, BelievesAnExitThatWasNotSeenForLongSooner) {
  LearningModel model(32);
  for (int i = 0; i < 2000; ++i) {
    model.Learn(Mode::kGreedy, 2, 0, kAny, kAny, i % 2);
    model.Learn(Mode::kGreedy, 4, 0, kAny, kAny, i % 2);
  }
  LearningModel after_others = model;
  for (int i = 0; i < 2000; ++i) after_others.Learn(Mode::kGreedy, 2, 0, kAny, kAny, i % 2);
  const double moved = model.Learn(Mode::kGreedy, 4, 0, kAny, kAny, 1);
  EXPECT_GT(after_others.Learn(Mode::kGreedy, 4, 0, kAny, kAny, 1), 1.5 * moved);
}

TEST(OddsFactor, TakesOfASurpriseWhatItIsUncertain) {
  constexpr OddsPrior kPrior = {.variance = 1, .drift = 0};
  OddsFactor sure = {1, 0.1f}, unsure = {1, 0.4f};
  LearnOutcome(0.5, 1, {{&sure, &kPrior}, {&unsure, &kPrior}});
  // Of 2 units of surprise, with the outcome's own variance of 4.
  EXPECT_NEAR(std::log(sure.odds), 2 * 0.1 / 4.5, 1e-6);
  EXPECT_NEAR(std::log(unsure.odds), 2 * 0.4 / 4.5, 1e-6);
  EXPECT_NEAR(unsure.variance, 0.4 * (1 - 0.4 / 4.5), 1e-6);
}

TEST(OddsFactor, StaysInsideItsRange) {
  constexpr OddsPrior kPrior = {.variance = 1.2f, .drift = 0.1f};
  for (const double outcome : {0.0, 1.0}) {
    OddsFactor factor = {1, kPrior.variance};
    for (int i = 0; i < 10000; ++i)
      LearnOutcome(outcome == 0 ? 0.998 : 0.002, outcome, {{&factor, &kPrior}});
    EXPECT_GE(factor.odds, 1 / OddsFactor::kMax);
    EXPECT_LE(factor.odds, OddsFactor::kMax);
    EXPECT_GT(factor.variance, 0);
    EXPECT_LE(factor.variance, kPrior.variance);
  }
}

TEST(TenantFactors, AreBoundedAndForgetTheOneUnusedForLongest) {
  TenantFactors tenants;
  const int first = tenants.Find("first");
  for (int i = 0; i < 100; ++i) LearnOutcome(0.5, 1, {{&tenants.factor(first), &kTenantPrior}});
  EXPECT_GT(tenants.factor(first).odds, 3);
  for (int i = 0; i < 10 * TenantFactors::kMaxTenants; ++i) {
    const int number = tenants.Find("tenant " + std::to_string(i));
    ASSERT_GE(number, 0);
    ASSERT_LT(number, TenantFactors::kMaxTenants);
    if (i % 50 == 0) {
      EXPECT_EQ(tenants.Find("first"), first);
    }
  }
  EXPECT_GT(tenants.factor(tenants.Find("first")).odds, 3);
  EXPECT_EQ(tenants.factor(tenants.Find("tenant 3")).odds, 1);
  EXPECT_EQ(static_cast<int>(tenants.tenants().size()), TenantFactors::kMaxTenants);
}

}  // namespace
}  // namespace strata
