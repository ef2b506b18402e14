#include "engine/policy/cost_model.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/policy/row_depths.h"

namespace strata {
namespace {

CostProfile Profile() {
  CostProfile profile;
  profile.layer = {{1, 1e-3}, {8, 1e-3}, {16, 2e-3}};
  profile.head = {{1, 5e-4}, {32, 5e-4}};
  profile.context_token = 1e-7;
  profile.pass = 2e-5;
  profile.choose = {1e-5, 2e-5, 3e-5};
  return profile;
}

double Layers(const CostModel& model, double layers, double rows) {
  Work work;
  work.AddLayers(layers, rows, 0);
  return model.Seconds(work);
}

TEST(CostModel, InterpolatesAndGoesOnAsTheLastPointsDo) {
  const CostModel model(Profile());
  EXPECT_NEAR(Layers(model, 10, 1), 1e-2, 1e-9);
  EXPECT_NEAR(Layers(model, 10, 4), 1e-2, 1e-9);
  EXPECT_NEAR(Layers(model, 10, 12), 1.5e-2, 1e-9);
  EXPECT_NEAR(Layers(model, 1, 100), 2e-3 + 84 * 1.25e-4, 1e-9);
  EXPECT_NEAR(Layers(model, 1, 5000), 2e-3 + 4984 * 1.25e-4, 1e-6);
  EXPECT_EQ(Layers(model, 1, 0), 0);
}

// The last two points of a profile differ by noise where more rows cost no more. A curve that went
// on descending would cross zero, and bound what all fewer rows cost by that.
TEST(CostModel, DoesNotGoOnDescending) {
  CostProfile profile = Profile();
  profile.layer = {{1, 1e-3}, {24, 1.01e-3}, {32, 0.99e-3}};
  const CostModel model(profile);
  for (const int rows : {1, 8, 32, 64, 4096}) {
    EXPECT_NEAR(Layers(model, 1, rows), 1e-3, 2e-5) << rows;
  }
}

TEST(CostModel, AddsUpTheParts) {
  const CostModel model(Profile());
  Work work;
  work.AddPass();
  work.AddLayers(3, 2, 500);
  work.AddHead(2, 0.5);
  work.AddChoices(Sampler::Mode::kUnseeded, 2);
  EXPECT_NEAR(model.Seconds(work), 2e-5 + 3e-3 + 3 * 500 * 1e-7 + 2.5e-4 + 6e-5, 1e-9);
}

// Rows leave micro-steps at their exit, and enter the sweep there.
TEST(RowDepths, CostTheLayersThatTheyRun) {
  const CostModel model(Profile());
  RowDepths depths;
  depths.Add(6, Sampler::Mode::kGreedy, 1, 100);
  depths.Add(2, Sampler::Mode::kGreedy, 11, 0);
  Work step;
  depths.AddMicroStep(1, 1, step);
  EXPECT_NEAR(model.Seconds(step), 2e-5 + 5e-4 + 2 * 1.5e-3 + 4 * 1e-3 + 6 * 100 * 1e-7 + 12 * 1e-5,
              1e-8);
  SweepRows sweep;
  sweep.num_layers = 10;
  sweep.rows = sweep.logit_rows = 4;
  sweep.choices = {4, 0, 0};
  Work whole;
  sweep.AddSweep(depths, 1, whole);
  EXPECT_NEAR(
      model.Seconds(whole),
      2e-5 + 5e-4 + 2 * 1e-3 + 4 * (1e-3 + 7 * 1.25e-4) + 4 * 2e-3 + 4 * 100 * 1e-7 + 16 * 1e-5,
      1e-8);
}

TEST(CostModel, TakesAnEvenDeviationForTheMachinesSpeed) {
  CostModel model(Profile());
  const double rows64 = Layers(model, 1, 64);
  Work seen;
  seen.AddLayers(16, 1, 0);
  for (int i = 0; i < 200; ++i) model.Observe(seen, 2 * 16e-3);
  EXPECT_NEAR(Layers(model, 16, 1), 2 * 16e-3, 1e-3);
  // What was never seen follows, if not all the way.
  EXPECT_GT(Layers(model, 1, 64), 1.4 * rows64);
  EXPECT_LT(model.error(), 0.02);
}

TEST(CostModel, LearnsWhatEachPartCosts) {
  CostProfile real = Profile();
  real.head = {{1, 2e-3}, {32, 2e-3}};
  real.layer = {{1, 5e-4}, {16, 3e-3}};
  const CostModel actual(real);
  CostModel model(Profile());
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    Work work;
    work.AddPass();
    work.AddLayers(std::uniform_int_distribution(1, 16)(random),
                   std::uniform_int_distribution(1, 16)(random), 0);
    if (i % 2 == 0) work.AddHead(1, 1);
    model.Observe(work, actual.Seconds(work));
  }
  Work head;
  head.AddHead(1, 1);
  EXPECT_NEAR(model.Seconds(head), 2e-3, 5e-4);
  EXPECT_NEAR(Layers(model, 1, 2), Layers(actual, 1, 2), 1.5e-4);
  EXPECT_NEAR(Layers(model, 1, 16), 3e-3, 4e-4);
  EXPECT_LT(model.error(), 0.05);
}

TEST(CostModel, NeverThinksThatMoreRowsCostLess) {
  CostModel model(Profile());
  std::mt19937 random(2);
  for (int i = 0; i < 500; ++i) {
    Work work;
    work.AddLayers(4, std::uniform_int_distribution(1, 600)(random), 1000);
    model.Observe(work, std::uniform_real_distribution(1e-5, 1.0)(random));
    for (int rows = 1; rows < 1000; rows += 7) {
      ASSERT_LE(Layers(model, 1, rows), Layers(model, 1, rows + 7) * (1 + 1e-9));
    }
  }
}

// A profile in which something else ran while 8 rows were measured: 4 rows, whose price rounds
// correct, say what 8 cost at most.
TEST(CostModel, NeverThinksThatARowCostsMoreInCompany) {
  CostProfile profile = Profile();
  profile.layer = {{1, 1e-3}, {4, 1e-3}, {8, 2e-2}, {16, 2e-2}};
  CostModel model(profile);
  EXPECT_NEAR(Layers(model, 1, 8), 2e-3, 1e-9);
  EXPECT_NEAR(Layers(model, 1, 16), 4e-3, 1e-9);
  std::mt19937 random(2);
  for (int i = 0; i < 500; ++i) {
    Work work;
    work.AddLayers(10, 1 + static_cast<int>(random() % 6), 0);
    model.Observe(work, 4e-3);
    for (double rows = 1; rows <= 64; rows *= 2) {
      EXPECT_LE(Layers(model, 1, 2 * rows), 2.001 * Layers(model, 1, rows)) << rows;
    }
  }
  EXPECT_NEAR(Layers(model, 10, 4), 4e-3, 4e-4);
}

TEST(CostModel, OneHiccupChangesLittle) {
  CostModel model(Profile());
  Work work;
  work.AddLayers(16, 1, 0);
  const double before = model.Seconds(work);
  model.Observe(work, 1000 * before);
  EXPECT_LT(model.Seconds(work), 1.2 * before);
  model.Observe(work, 0);
  model.Observe(Work(), 1);
  EXPECT_LT(model.Seconds(work), 1.2 * before);
}

// A clock that stands still, as tests have, measures nothing.
TEST(CostModel, OfNoTimeAtAllIsUsable) {
  CostProfile nothing;
  nothing.layer = nothing.head = {{1, 0}};
  CostModel model(nothing);
  EXPECT_GT(Layers(model, 1, 1), 0);
  Work work;
  work.AddLayers(1, 3, 10);
  model.Observe(work, 1e-3);
  EXPECT_TRUE(std::isfinite(model.Seconds(work)));
}

}  // namespace
}  // namespace strata
