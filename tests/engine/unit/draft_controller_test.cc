#include "engine/policy/draft_controller.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/engine/unit/draft_world.h"

namespace strata {
namespace {

DraftControllerConfig Config(const DraftWorldOptions& options) {
  DraftControllerConfig config;
  config.num_layers = options.num_layers;
  config.exit_layers = CandidateExits(options.num_layers);
  return config;
}

DraftWorldResult BestFixed(const DraftWorldOptions& options, int rounds) {
  DraftWorldResult best;
  for (const int exit : CandidateExits(options.num_layers)) {
    for (const int drafts : {0, 1, 2, 3, 4, 6, 8, 12}) {
      const DraftWorldResult run = DraftWorld(options).RunFixed(rounds, exit, drafts);
      if (best.rounds == 0 || run.tokens_per_second() > best.tokens_per_second()) best = run;
    }
  }
  return best;
}

TEST(DraftController, ReachesTheBestFixedSettingAndNeverLosesToNone) {
  for (const double acceptance : {0.02, 0.3, 0.6, 0.8, 0.95, 0.995}) {
    for (const int rows : {1, 4, 16, 64, 256}) {
      for (const double read : {100e-6, 400e-6}) {
        DraftWorldOptions options;
        options.acceptance = acceptance;
        options.num_rows = rows;
        options.layer_read_seconds = read;
        const int rounds = rows > 16 ? 400 : 2000;
        const DraftWorldResult best = BestFixed(options, rounds);
        const DraftWorldResult off = DraftWorld(options).RunFixed(rounds, 0, 0);
        DraftController controller(Config(options), DraftWorld::Profile(options));
        DraftWorld world(options);
        world.RunAuto(300, controller);
        const DraftWorldResult automatic = world.RunAuto(rounds, controller);
        EXPECT_GT(automatic.tokens_per_second(), 0.95 * best.tokens_per_second());
        EXPECT_GT(automatic.tokens_per_second(), 0.98 * off.tokens_per_second());
      }
    }
  }
}

}  // namespace
}  // namespace strata
