#include "engine/policy/acceptance_model.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/policy/tenant_factors.h"

namespace strata {
namespace {

using Mode = Sampler::Mode;
constexpr int kAny = AcceptanceModel::kAny;

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
  AcceptanceModel model(32);
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
  AcceptanceModel model(32);
  for (int i = 0; i < 500; ++i) {
    model.Learn(Mode::kGreedy, 4, 0, kAny, 5, i % 2);
    model.Learn(Mode::kGreedy, 4, 1, 5, 5, i % 10 != 0);
    model.Learn(Mode::kGreedy, 8, 0, kAny, 5, i % 2);
  }
  EXPECT_NEAR(model.BeforeDraft(Mode::kGreedy, 8, 0, kAny), 0.5, 0.05);
  EXPECT_GT(model.BeforeDraft(Mode::kGreedy, 8, 1, kAny), 0.75);
}

TEST(AcceptanceModel, ForgetsOldTimes) {
  AcceptanceModel model(32);
  for (int i = 0; i < 10000; ++i) model.Learn(Mode::kGreedy, 4, 0, kAny, kAny, 1);
  for (int i = 0; i < 600; ++i) model.Learn(Mode::kGreedy, 4, 0, kAny, kAny, 0);
  EXPECT_LT(model.BeforeDraft(Mode::kGreedy, 4, 0, kAny), 0.15);
}

TEST(AcceptanceModel, ChancesStayInsideTheirRange) {
  AcceptanceModel model(4);
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

TEST(OutcomeFactor, IsShrunkTowardsWhatWasExpected) {
  OutcomeFactor factor;
  EXPECT_EQ(factor.odds(4), 1);
  for (int i = 0; i < 4; ++i) factor.Add(0.5, 1, 48);
  // Four of four, and a prior of four that half are: three quarters.
  EXPECT_NEAR(factor.odds(4), 3, 1e-6);
  for (int i = 0; i < 1000; ++i) factor.Add(0.5, 0.5, 48);
  EXPECT_NEAR(factor.odds(4), 1, 0.05);
  EXPECT_FLOAT_EQ(factor.weight(), 48);
}

TEST(TenantFactors, AreBoundedAndForgetTheOneUnusedForLongest) {
  TenantFactors tenants;
  const int first = tenants.Find("first");
  for (int i = 0; i < 100; ++i) tenants.outcomes(first).Add(0.5, 1, 512);
  EXPECT_GT(tenants.odds(first), 3);
  for (int i = 0; i < 10 * TenantFactors::kMaxTenants; ++i) {
    const int number = tenants.Find("tenant " + std::to_string(i));
    ASSERT_GE(number, 0);
    ASSERT_LT(number, TenantFactors::kMaxTenants);
    if (i % 50 == 0) {
      EXPECT_EQ(tenants.Find("first"), first);
    }
  }
  EXPECT_GT(tenants.odds(tenants.Find("first")), 3);
  EXPECT_EQ(tenants.odds(tenants.Find("tenant 3")), 1);
  EXPECT_EQ(static_cast<int>(tenants.tenants().size()), TenantFactors::kMaxTenants);
}

}  // namespace
}  // namespace strata
