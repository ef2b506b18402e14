// The draft controller in closed loop with synthetic machines and drafts.

#include "engine/policy/draft_controller.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "engine/policy/experience_file.h"
#include "tests/engine/unit/draft_world.h"

namespace strata {
namespace {

constexpr int kWarmUpRounds = 300;

DraftControllerConfig Config(const DraftWorldOptions& options) {
  DraftControllerConfig config;
  config.num_layers = options.num_layers;
  config.exit_layers = CandidateExits(options.num_layers);
  return config;
}

DraftController MakeController(const DraftWorldOptions& options) {
  return DraftController(Config(options), DraftWorld::Profile(options));
}

double BestRateAt(int exit, const DraftWorldOptions& options, int rounds) {
  double best = 0;
  for (const int drafts : {1, 2, 3, 4, 6, 8, 12}) {
    best = std::max(best, DraftWorld(options).RunFixed(rounds, exit, drafts).tokens_per_second());
  }
  return best;
}

double BestFixedRate(const DraftWorldOptions& options, int rounds) {
  double best = 0;
  for (const int exit : {2, 4, 8, 16}) best = std::max(best, BestRateAt(exit, options, rounds));
  return best;
}

double OffRate(const DraftWorldOptions& options, int rounds) {
  return DraftWorld(options).RunFixed(rounds, 0, 0).tokens_per_second();
}

// ---- As fast as the best fixed setting

struct Case {
  double acceptance;
  int num_rows;
  double layer_read_seconds;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.acceptance << " accepted, " << c.num_rows << " rows, read " << c.layer_read_seconds;
}

class DraftControllerRate : public testing::TestWithParam<Case> {};

TEST_P(DraftControllerRate, IsThatOfTheBestFixedSettingAndOfNoneAtLeast) {
  DraftWorldOptions options;
  options.acceptance = GetParam().acceptance;
  options.num_rows = GetParam().num_rows;
  options.layer_read_seconds = GetParam().layer_read_seconds;
  const int rounds = options.num_rows > 16 ? 150 : 1200;
  DraftController controller = MakeController(options);
  DraftWorld world(options);
  world.RunAuto(kWarmUpRounds, controller);
  const double rate = world.RunAuto(rounds, controller).tokens_per_second();
  EXPECT_GT(rate, 0.95 * BestFixedRate(options, rounds));
  EXPECT_GT(rate, 0.98 * OffRate(options, rounds));
}

INSTANTIATE_TEST_SUITE_P(Worlds, DraftControllerRate,
                         testing::Values(Case{0.02, 1, 1e-4}, Case{0.02, 16, 4e-4},
                                         Case{0.3, 4, 4e-4}, Case{0.6, 1, 1e-4},
                                         Case{0.6, 16, 1e-4}, Case{0.8, 4, 1e-4},
                                         Case{0.8, 64, 4e-4}, Case{0.95, 1, 4e-4},
                                         Case{0.95, 16, 1e-4}, Case{0.95, 256, 4e-4},
                                         Case{0.995, 4, 1e-4}));

// ---- What it notices

TEST(DraftController, FollowsDraftsThatTurnBadAndGoodAgain) {
  DraftWorldOptions options;
  DraftController controller = MakeController(options);
  DraftWorld world(options);
  const double good_rate = BestFixedRate(options, 800);
  for (int turn = 0; turn < 2; ++turn) {
    world.options().acceptance = 0.01;
    world.RunAuto(400, controller);
    EXPECT_LT(world.RunAuto(200, controller).drafted, 20);
    EXPECT_EQ(controller.report().decision, DraftDecision::kAcceptance);
    world.options().acceptance = 0.9;
    world.RunAuto(600, controller);
    EXPECT_GT(world.RunAuto(200, controller).tokens_per_second(), 0.85 * good_rate);
    EXPECT_EQ(controller.report().decision, DraftDecision::kDraft);
  }
}

// Drafts get worse, and from then on a less deep exit pays, a little. What the tenant's drafts
// bring less than before must not be counted twice, once for the tenant and once for the exits:
// such an `auto` would hardly draft, and so never learn better.
TEST(DraftController, FindsTheExitThatPaysOnceDraftsGotWorse) {
  DraftWorldOptions options;
  options.num_layers = 16;
  options.layer_read_seconds = 20e-6;
  options.layer_row_seconds = 5e-6;
  options.head_read_seconds = 40e-6;
  DraftWorldOptions worse = options;
  options.acceptance = 0.97;
  options.full_depth = 0.25;
  worse.acceptance = 0.5;
  worse.full_depth = 0.12;
  const double best = BestRateAt(2, worse, 6000);
  ASSERT_GT(best, 1.1 * OffRate(worse, 6000));
  double rate = 0;
  constexpr int kSeeds = 6;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    options.seed = seed;
    DraftController controller = MakeController(options);
    DraftWorld world(options);
    world.RunAuto(2000, controller);
    world.options().acceptance = worse.acceptance;
    world.options().full_depth = worse.full_depth;
    world.RunAuto(600, controller);
    rate += world.RunAuto(2000, controller).tokens_per_second() / kSeeds;
  }
  EXPECT_GT(rate, 0.96 * best);
}

TEST(DraftController, StopsDraftingUnderLoadAndBeginsAgainAfterIt) {
  DraftWorldOptions small;
  DraftWorldOptions large = small;
  large.num_rows = 128;
  DraftController controller = MakeController(small);
  for (int turn = 0; turn < 2; ++turn) {
    EXPECT_GT(DraftWorld(small).RunAuto(100, controller).drafted, 200);
    EXPECT_EQ(controller.report().decision, DraftDecision::kDraft);
    const DraftWorldResult loaded = DraftWorld(large).RunAuto(100, controller);
    EXPECT_LT(loaded.drafted, 10 * large.num_rows);
    EXPECT_EQ(controller.report().decision, DraftDecision::kLoad);
  }
}

// The same drafts, at a machine whose head reads more than the profile says.
TEST(DraftController, CorrectsAWrongProfile) {
  for (const double believed_share : {0.25, 0.1}) {
    DraftWorldOptions actual;
    actual.acceptance = 0.5;
    actual.head_read_seconds = 2e-3;
    DraftWorldOptions believed = actual;
    believed.head_read_seconds *= believed_share;
    DraftController controller(Config(actual), DraftWorld::Profile(believed));
    DraftWorld world(actual);
    world.RunAuto(600, controller);
    const double rate = world.RunAuto(800, controller).tokens_per_second();
    EXPECT_GT(rate, 0.97 * OffRate(actual, 800)) << believed_share;
    EXPECT_LT(controller.report().step_time_error, 0.1) << believed_share;
  }
}

// A profile by which every row costs as much as the first, so that no draft can pay; and nothing
// but drafts would make several rows of one. Without trials it would never draft.
TEST(DraftController, FindsOutThatDraftsCostLessThanItsProfileSays) {
  for (const double acceptance : {0.9, 0.8, 0.6, 0.1}) {
    DraftWorldOptions options;
    options.acceptance = acceptance;
    CostProfile believed = DraftWorld::Profile(options);
    for (CostProfile::Point& point : believed.layer) {
      point.seconds = point.rows * believed.layer[0].seconds;
    }
    DraftController controller(Config(options), believed);
    DraftWorld world(options);
    world.RunAuto(kWarmUpRounds, controller);
    const double rate = world.RunAuto(800, controller).tokens_per_second();
    EXPECT_GT(rate, 0.9 * BestFixedRate(options, 800)) << acceptance;
    EXPECT_GT(rate, 0.98 * OffRate(options, 800)) << acceptance;
  }
}

TEST(DraftController, KeepsUpWithAMachineOfAnotherSpeed) {
  DraftWorldOptions options;
  options.slowness = 3;
  DraftController controller = MakeController(options);
  DraftWorld world(options);
  world.RunAuto(kWarmUpRounds, controller);
  EXPECT_LT(controller.report().step_time_error, 0.06);
  Work layers;
  layers.AddLayers(options.num_layers, 1, 0);
  const double profiled = CostModel(DraftWorld::Profile(options)).Seconds(layers);
  EXPECT_NEAR(controller.costs().Seconds(layers) / profiled, 3, 0.5);
  const double rate = world.RunAuto(800, controller).tokens_per_second();
  EXPECT_GT(rate, 0.95 * BestFixedRate(options, 800));
}

TEST(DraftController, ChoosesAnExitThatPays) {
  std::vector<int> chosen;
  for (const double full_depth : {1.0 / 16, 0.25, 0.5}) {
    DraftWorldOptions options;
    options.full_depth = full_depth;
    options.acceptance = 0.93;
    DraftController controller = MakeController(options);
    DraftWorld world(options);
    world.RunAuto(2000, controller);
    chosen.push_back(controller.report().exit_layer);
    EXPECT_GT(BestRateAt(chosen.back(), options, 4000), 0.97 * BestFixedRate(options, 4000));
    const double rate = world.RunAuto(4000, controller).tokens_per_second();
    EXPECT_GT(rate, 0.97 * BestFixedRate(options, 4000));
  }
  EXPECT_EQ(chosen[0], 2);
  EXPECT_GT(chosen[1], 2);
  EXPECT_GT(chosen[2], 2);
}

TEST(DraftController, PredictsAcceptance) {
  DraftWorldOptions options;
  options.num_rows = 4;
  DraftController controller = MakeController(options);
  DraftWorld world(options);
  world.RunAuto(1000, controller);
  EXPECT_LT(controller.report().calibration_error, 0.06);
}

// ---- Probes

TEST(DraftController, ProbesTakeTheirShareOfTheTime) {
  for (const double acceptance : {0.02, 0.9}) {
    DraftWorldOptions options;
    options.acceptance = acceptance;
    DraftController controller = MakeController(options);
    DraftWorld world(options);
    world.RunAuto(kWarmUpRounds, controller);  // in the beginning there are more
    const DraftWorldResult run = world.RunAuto(2000, controller);
    EXPECT_GT(run.probe_seconds, 0.001 * run.seconds);
    EXPECT_LT(run.probe_seconds, 0.006 * run.seconds);
  }
}

// Else they would take a large part of the rounds that follow.
TEST(DraftController, ProbesSaveNothingInRoundsOfOthers) {
  DraftWorldOptions options;
  DraftController controller = MakeController(options);
  DraftWorld world(options);
  world.RunAuto(kWarmUpRounds, controller);
  world.options().kind = DraftRow::Kind::kOff;
  world.RunAuto(2000, controller);
  world.options().kind = DraftRow::Kind::kAuto;
  const DraftWorldResult run = world.RunAuto(120, controller);
  EXPECT_LT(run.probe_seconds, 0.01 * run.seconds);
}

// ---- Limits

// One row in a round, without a world.
class OneRow : public testing::Test {
 protected:
  // Lets the row know that its drafts are good, or bad, at every exit.
  void Teach(int rounds, bool accepted) {
    const std::vector<float> confidences = {0.97f, 0.97f, 0.97f, 0.97f};
    for (int i = 0; i < rounds; ++i) {
      for (const int exit : row_.exit_layers.empty() ? config_.exit_layers : row_.exit_layers) {
        row_.exit_layer = exit;
        controller_.Verified(row_, confidences, accepted ? 4 : 0, false);
      }
    }
    row_.exit_layer = 0;
  }
  int Plan() {
    DraftRow* const rows[] = {&row_};
    controller_.Plan(rows, 0);
    return row_.num_drafts;
  }
  // A round that takes what is predicted, whoever asked for its drafts.
  void RunRound(int num_drafts, int emitted_tokens, int prefill_rows = 0) {
    DraftRow* const rows[] = {&row_};
    controller_.Plan(rows, prefill_rows);
    row_.num_drafts = num_drafts;
    controller_.Begin({.rows = rows, .prefill_rows = prefill_rows});
    DraftController::Outcome outcome;
    const CostModel costs = controller_.costs();
    Work work;
    work.AddPass();
    work.AddLayers(config_.num_layers, 1 + prefill_rows, 0);
    work.AddHead(1 + num_drafts, 1);
    work.AddChoices(row_.mode, 1 + num_drafts);
    outcome.sweep_seconds = costs.Seconds(work);
    outcome.emitted_tokens = emitted_tokens;
    controller_.End(outcome);
  }

  DraftWorldOptions options_;
  DraftControllerConfig config_ = Config(options_);
  DraftController controller_ = DraftController(config_, DraftWorld::Profile(options_));
  DraftRow row_ = [] {
    DraftRow row;
    row.kind = DraftRow::Kind::kAuto;
    row.tokens_left = 100;
    return row;
  }();
};

// What rows that ask for their drafts commit says nothing about what automatic ones promised.
TEST_F(OneRow, RoundsOfOthersAreNotHeldAgainstItsPromises) {
  Teach(100, false);
  ASSERT_EQ(Plan(), 0);
  const double price = controller_.report().price;
  row_.kind = DraftRow::Kind::kOff;
  for (int i = 0; i < 300; ++i) RunRound(0, 5);
  row_.kind = DraftRow::Kind::kAuto;
  ASSERT_EQ(Plan(), 0);
  EXPECT_NEAR(controller_.report().price, price, 0.05 * price);
}

TEST_F(OneRow, ComparesWithPlainRoundsOfATokenEach) {
  row_.kind = DraftRow::Kind::kPinned;
  row_.exit_layer = 4;
  row_.most_drafts = 4;
  const DraftWorldOptions& world = options_;
  const double plain = world.pass_seconds + config_.num_layers * world.layer_read_seconds +
                       world.head_read_seconds + world.choose_seconds;
  RunRound(4, 3);
  EXPECT_NEAR(controller_.report().plain_seconds, 3 * plain, 0.1 * plain);
  RunRound(0, 1);
  EXPECT_EQ(controller_.report().plain_seconds, 0) << "nothing was drafted";
  RunRound(4, 3, /*prefill_rows=*/8);
  EXPECT_EQ(controller_.report().plain_seconds, 0) << "prompts would blur it";
}

// A device may be told of drafts and sweep at once, and be waited for in the end.
TEST_F(OneRow, LearnsFromTheWholeRoundWhereDraftsWereNotTimed) {
  row_.kind = DraftRow::Kind::kPinned;
  row_.exit_layer = 4;
  row_.most_drafts = 1;
  DraftRow* const rows[] = {&row_};
  Work step;
  step.AddLayers(row_.exit_layer, 1, 0);
  const double believed = controller_.costs().Seconds(step);
  double seconds = 0;
  for (int i = 0; i < 300; ++i) {
    controller_.Plan(rows, 0);
    controller_.Begin({.rows = rows});
    controller_.End({.draft_seconds = 1e-6, .draft_timed = false, .sweep_seconds = seconds});
    if (i == 0) seconds = 2 * controller_.report().predicted_seconds;
  }
  EXPECT_NEAR(controller_.report().predicted_seconds, seconds, 0.05 * seconds);
  EXPECT_GT(controller_.costs().Seconds(step), 1.3 * believed);
}

TEST_F(OneRow, DraftsNoMoreThanItMayAndThanTokensAreLeft) {
  Teach(100, true);
  EXPECT_GT(Plan(), 4);
  row_.most_drafts = 3;
  EXPECT_EQ(Plan(), 3);
  row_.tokens_left = 2;
  EXPECT_EQ(Plan(), 1);
  row_.tokens_left = 1;
  EXPECT_EQ(Plan(), 0);
  EXPECT_EQ(controller_.report().decision, DraftDecision::kCap);
}

TEST_F(OneRow, TakesOneOfItsOwnExits) {
  row_.exit_layers = {24, 31};
  Teach(100, true);
  Plan();
  EXPECT_EQ(row_.exit_layer, 24);
}

TEST_F(OneRow, PinnedDraftsWhateverItCosts) {
  Teach(100, false);
  EXPECT_EQ(Plan(), 0);
  row_.kind = DraftRow::Kind::kPinned;
  row_.exit_layer = 30;
  row_.most_drafts = 7;
  EXPECT_EQ(Plan(), 7);
  EXPECT_EQ(row_.exit_layer, 30);
  row_.most_drafts = 100;
  EXPECT_EQ(Plan(), config_.most_drafts);
  DraftRow* const rows[] = {&row_};
  controller_.Begin({.rows = rows});
  row_.drafted = 1;
  row_.confidence = 0.01f;
  controller_.Review(rows);
  EXPECT_TRUE(row_.keep_drafting);
}

TEST_F(OneRow, StopsWhenADraftIsNotSure) {
  Teach(100, true);
  DraftRow* const rows[] = {&row_};
  for (const auto& [confidence, keeps] : {std::pair(0.99f, true), std::pair(0.05f, false)}) {
    ASSERT_GT(Plan(), 1);
    controller_.Begin({.rows = rows});
    row_.drafted = 1;
    row_.confidence = confidence;
    controller_.Review(rows);
    EXPECT_EQ(row_.keep_drafting, keeps) << confidence;
  }
}

// Rows that ask for their drafts are not asked for confidences, which are then 0: that says nothing
// of drafts that have little.
TEST_F(OneRow, LearnsFromDraftsOfUnknownConfidence) {
  const auto acceptance = [this] { return controller_.experience().acceptance; };
  const int little = AcceptanceModel::ConfidenceClass(0.01);
  const double before = acceptance().AfterDraft(row_.mode, 4, 0, little);
  row_.exit_layer = 4;
  const std::vector<float> unknown(4, 0.0f);
  for (int i = 0; i < 300; ++i) controller_.Verified(row_, unknown, 2, false);
  EXPECT_GT(acceptance().BeforeDraft(row_.mode, 4, 0, AcceptanceModel::kAny), 0.95);
  EXPECT_LT(acceptance().BeforeDraft(row_.mode, 4, 2, AcceptanceModel::kAny), 0.1);
  EXPECT_EQ(acceptance().AfterDraft(row_.mode, 4, 0, little), before);
}

TEST_F(OneRow, LearnsNothingFromDraftsBehindTheEnd) {
  Teach(50, true);
  row_.exit_layer = 4;
  const std::string before = ToJson(controller_.experience(), "");
  controller_.Verified(row_, std::vector<float>{0.9f, 0.9f}, 0, /*finished=*/true);
  EXPECT_EQ(ToJson(controller_.experience(), ""), before);
  controller_.Verified(row_, std::vector<float>{0.9f, 0.9f}, 0, /*finished=*/false);
  EXPECT_NE(ToJson(controller_.experience(), ""), before);
}

TEST(DraftControllerCeiling, KeepsRoundsShort) {
  DraftWorldOptions options;
  options.acceptance = 0.97;
  options.noise = 0;
  const double plain = 1 / OffRate(options, 10);
  for (const double ceiling : {0.5 * plain, 1.3 * plain, 2.0 * plain}) {
    DraftControllerConfig config = Config(options);
    config.latency_ceiling_seconds = ceiling;
    DraftController controller(config, DraftWorld::Profile(options));
    DraftWorld world(options);
    double longest = 0;
    double drafted = 0;
    for (int i = 0; i < 600; ++i) {
      drafted += world.RunAuto(1, controller).drafted;
      longest = std::max(longest, controller.report().predicted_seconds);
    }
    EXPECT_LE(longest, std::max(ceiling, plain) * 1.001);
    if (ceiling < plain) {
      EXPECT_EQ(drafted, 0);
      EXPECT_EQ(controller.report().decision, DraftDecision::kLatency);
    } else {
      EXPECT_GT(drafted, 100);
    }
  }
}

// ---- Rows that differ

// Two rows side by side, of which the drafts of the second are never accepted.
TEST(DraftController, StopsTheRowWhoseDraftsAreBad) {
  DraftWorldOptions options;
  options.layer_row_seconds = 5e-6;  // rows beyond 20 have their price
  DraftController controller = MakeController(options);
  std::vector<DraftRow> rows(12);
  std::vector<DraftRow*> pointers;
  for (DraftRow& row : rows) {
    row.kind = DraftRow::Kind::kAuto;
    row.tokens_left = 100;
    pointers.push_back(&row);
  }
  int good = 0, bad = 0;
  for (int round = 0; round < 200; ++round) {
    controller.Plan(pointers, 0);
    controller.Begin({.rows = pointers});
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::vector<float> confidences(std::min(rows[i].num_drafts, 2), 0.8f);
      if (round >= 100) (i < 6 ? good : bad) += static_cast<int>(confidences.size());
      if (!confidences.empty()) {
        controller.Verified(rows[i], confidences, i < 6 ? static_cast<int>(confidences.size()) : 0,
                            false);
      }
    }
    controller.End({.draft_seconds = 0, .sweep_seconds = 0});
  }
  EXPECT_GT(good, 500);
  EXPECT_LT(bad, good / 4);
}

// What is known of a tenant serves its next request.
TEST(DraftController, RemembersTenants) {
  const DraftWorldOptions options;
  DraftController controller = MakeController(options);
  const int good = controller.Tenant("good"), bad = controller.Tenant("bad");
  ASSERT_NE(good, bad);
  for (int request = 0; request < 40; ++request) {
    for (const int tenant : {good, bad}) {
      DraftRow row;
      row.kind = DraftRow::Kind::kAuto;
      row.exit_layer = 4;
      row.tenant = tenant;
      for (int i = 0; i < 4; ++i) {
        controller.Verified(row, std::vector<float>{0.8f}, tenant == good ? 1 : 0, false);
      }
    }
  }
  for (const int tenant : {good, bad}) {
    DraftRow row;
    row.kind = DraftRow::Kind::kAuto;
    row.tokens_left = 100;
    row.tenant = tenant;
    DraftRow* const rows[] = {&row};
    controller.Plan(rows, 0);
    EXPECT_EQ(row.num_drafts > 0, tenant == good);
  }
}

// ---- Stability

// Where drafting hardly pays, it does not go on and off all the time.
TEST(DraftController, DoesNotFlap) {
  for (const double acceptance : {0.2, 0.3, 0.4}) {
    DraftWorldOptions options;
    options.acceptance = acceptance;
    options.num_rows = 4;
    DraftController controller = MakeController(options);
    DraftWorld world(options);
    world.RunAuto(kWarmUpRounds, controller);
    int turns = 0;
    bool drafting = false;
    for (int i = 0; i < 1000; ++i) {
      world.RunAuto(1, controller);
      const bool drafts = controller.report().decision == DraftDecision::kDraft;
      turns += drafts != drafting;
      drafting = drafts;
    }
    EXPECT_LT(turns, 100) << acceptance;
  }
}

TEST(DraftController, DecidesTheSameFromTheSame) {
  const DraftWorldOptions options;
  DraftController first = MakeController(options), second = MakeController(options);
  const DraftWorldResult a = DraftWorld(options).RunAuto(500, first);
  const DraftWorldResult b = DraftWorld(options).RunAuto(500, second);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.drafted, b.drafted);
  EXPECT_EQ(a.seconds, b.seconds);
}

TEST(DraftController, BeginsWhereItsExperienceEnded) {
  DraftWorldOptions options;
  options.acceptance = 0.01;
  DraftController old = MakeController(options);
  DraftWorld world(options);
  world.RunAuto(1000, old);
  DraftController fresh = MakeController(options), warm = MakeController(options);
  warm.Restore(old.experience());
  EXPECT_GT(DraftWorld(options).RunAuto(50, fresh).drafted, 0);
  EXPECT_EQ(DraftWorld(options).RunAuto(50, warm).drafted, 0);
}

TEST(CandidateExits, AreLayersInAscendingOrder) {
  for (int num_layers = 2; num_layers <= 130; ++num_layers) {
    const std::vector<int> exits = CandidateExits(num_layers);
    ASSERT_FALSE(exits.empty());
    EXPECT_GE(exits.front(), 1);
    EXPECT_LT(exits.back(), num_layers);
    EXPECT_TRUE(std::is_sorted(exits.begin(), exits.end()));
    EXPECT_EQ(std::adjacent_find(exits.begin(), exits.end()), exits.end());
  }
}

}  // namespace
}  // namespace strata
