// A synthetic machine with synthetic drafts, in which draft policies can be compared: no model, no
// clock; seeded.

#ifndef STRATA_TESTS_ENGINE_UNIT_DRAFT_WORLD_H_
#define STRATA_TESTS_ENGINE_UNIT_DRAFT_WORLD_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "engine/policy/draft_controller.h"

namespace strata {

struct DraftWorldOptions {
  int num_layers = 32;
  int num_rows = 1;
  // Of one layer: reading its weights, or computing its rows, whichever takes longer.
  double layer_read_seconds = 100e-6;
  double layer_row_seconds = 4e-6;
  double head_read_seconds = 200e-6;
  double head_row_seconds = 8e-6;
  double pass_seconds = 5e-6;
  double choose_seconds = 5e-6;
  // Drafts that exit at `full_depth` of the layers would be accepted with `acceptance`; from less
  // deep exits, less often. How much it varies from one token to the next, in log odds, and how
  // much of that the next token keeps.
  double acceptance = 0.9;
  double full_depth = 0.25;
  double variation = 1.5;
  double persistence = 0.7;
  // Standard deviation of what a round takes, in logarithms.
  double noise = 0.03;
  // What the machine takes over what its profile says.
  double slowness = 1;
  int prefill_rows = 0;
  DraftRow::Kind kind = DraftRow::Kind::kAuto;
  uint64_t seed = 1;
};

// What a policy earned.
struct DraftWorldResult {
  double tokens = 0;
  double seconds = 0;
  double drafted = 0;
  double probe_seconds = 0;
  int rounds = 0;
  double tokens_per_second() const { return tokens / seconds; }
};

class DraftWorld {
 public:
  explicit DraftWorld(const DraftWorldOptions& options)
      : options_(options), random_(options.seed), ease_(options.num_rows, 0.0) {}

  static CostProfile Profile(const DraftWorldOptions& options) {
    CostProfile profile;
    for (const int rows : Work::kRowCounts) {
      profile.layer.push_back({static_cast<double>(rows), Layer(options, rows)});
      profile.head.push_back({static_cast<double>(rows), Head(options, rows)});
    }
    profile.context_token = 0;
    profile.pass = options.pass_seconds;
    profile.choose.fill(options.choose_seconds);
    return profile;
  }

  DraftWorldOptions& options() { return options_; }

  // So many rounds without drafts, or with `num_drafts` at `exit_layer` in each row.
  DraftWorldResult RunFixed(int rounds, int exit_layer, int num_drafts);
  // The rows are made anew every `rounds_per_request` rounds.
  DraftWorldResult RunAuto(int rounds, DraftController& controller, int rounds_per_request = 100);

 private:
  static double Layer(const DraftWorldOptions& o, double rows) {
    return std::max(o.layer_read_seconds, rows * o.layer_row_seconds);
  }
  static double Head(const DraftWorldOptions& o, double rows) {
    return std::max(o.head_read_seconds, rows * o.head_row_seconds);
  }
  double Noise() {
    return options_.slowness * std::exp(options_.noise * std::normal_distribution()(random_));
  }
  double MicroStep(int exit_layer, int rows) {
    return Noise() * (options_.pass_seconds + exit_layer * Layer(options_, rows) +
                      Head(options_, rows) + rows * options_.choose_seconds);
  }
  double Sweep(int exit_layer, int rows, int drafts) {
    const double prefill = options_.prefill_rows;
    return Noise() *
           (options_.pass_seconds + exit_layer * Layer(options_, rows + prefill) +
            (options_.num_layers - exit_layer) * Layer(options_, rows + drafts + prefill) +
            Head(options_, rows + drafts) + (rows + drafts) * options_.choose_seconds);
  }

  // The chance of a draft at `exit_layer` in the present state of `row`.
  double Chance(int row, int exit_layer) const {
    const double depth = static_cast<double>(exit_layer) / options_.num_layers;
    const double missing = std::max(0.0, 1 - depth / options_.full_depth);
    const double odds = options_.acceptance / (1 - options_.acceptance);
    return 1 / (1 + std::exp(-(std::log(odds) - 3 * missing + ease_[row])));
  }
  void NextToken(int row) {
    const double keep = options_.persistence;
    ease_[row] = keep * ease_[row] + std::sqrt(1 - keep * keep) * options_.variation *
                                         std::normal_distribution()(random_);
  }
  // Confidence is the chance itself, blurred: informative, not calibrated.
  float Confidence(double chance) {
    const double odds = std::log(chance / (1 - chance)) + 0.7 * std::normal_distribution()(random_);
    return static_cast<float>(1 / (1 + std::exp(-odds - 0.3)));
  }

  DraftWorldOptions options_;
  std::mt19937_64 random_;
  std::vector<double> ease_;  // of each row's next token
};

inline DraftWorldResult DraftWorld::RunFixed(int rounds, int exit_layer, int num_drafts) {
  DraftWorldResult result;
  const int rows = options_.num_rows;
  for (int round = 0; round < rounds; ++round) {
    for (int k = 0; k < num_drafts; ++k) result.seconds += MicroStep(exit_layer, rows);
    result.seconds += Sweep(num_drafts > 0 ? exit_layer : 0, rows, rows * num_drafts);
    for (int row = 0; row < rows; ++row) {
      int committed = 1;
      bool accepted = true;
      for (int k = 0; k < num_drafts && accepted; ++k) {
        accepted = std::bernoulli_distribution(Chance(row, exit_layer))(random_);
        committed += accepted;
        NextToken(row);
      }
      if (accepted) NextToken(row);
      result.tokens += committed;
    }
    result.drafted += rows * num_drafts;
  }
  result.rounds = rounds;
  return result;
}

inline DraftWorldResult DraftWorld::RunAuto(int rounds, DraftController& controller,
                                            int rounds_per_request) {
  DraftWorldResult result;
  std::vector<DraftRow> rows(options_.num_rows);
  std::vector<DraftRow*> pointers, active;
  for (DraftRow& row : rows) pointers.push_back(&row);
  std::vector<std::vector<float>> confidences(rows.size());
  std::vector<int> accepted(rows.size());
  std::vector<bool> alive(rows.size());
  for (int round = 0; round < rounds; ++round) {
    if (round % rounds_per_request == 0) {
      for (DraftRow& row : rows) {
        row = {};
        row.kind = options_.kind;
      }
    }
    for (DraftRow& row : rows) row.tokens_left = 1000;
    controller.Plan(pointers, options_.prefill_rows);
    controller.Begin({.rows = pointers, .prefill_rows = options_.prefill_rows});
    DraftController::Outcome outcome;
    int num_probes = 0;
    for (const DraftController::Probe& probe : controller.ChooseProbes()) {
      const double chance = Chance(static_cast<int>(probe.row - rows.data()), probe.exit_layer);
      controller.Probed(probe, Confidence(chance), std::bernoulli_distribution(chance)(random_));
      ++num_probes;
    }
    if (num_probes > 0) {
      outcome.probe_seconds =
          options_.pass_seconds + Head(options_, num_probes) + num_probes * options_.choose_seconds;
    }

    active.clear();
    for (size_t i = 0; i < rows.size(); ++i) {
      confidences[i].clear();
      accepted[i] = 0;
      alive[i] = true;
      if (rows[i].num_drafts > 0) active.push_back(&rows[i]);
    }
    int drafts = 0;
    int exit_layer = 0;
    while (!active.empty()) {
      exit_layer = active.front()->exit_layer;
      outcome.draft_seconds += MicroStep(exit_layer, static_cast<int>(active.size()));
      drafts += static_cast<int>(active.size());
      std::vector<DraftRow*> more;
      for (DraftRow* row : active) {
        const size_t i = row - rows.data();
        const double chance = Chance(static_cast<int>(i), exit_layer);
        confidences[i].push_back(Confidence(chance));
        row->confidence = confidences[i].back();
        row->drafted = static_cast<int>(confidences[i].size());
        if (alive[i]) {
          alive[i] = std::bernoulli_distribution(chance)(random_);
          accepted[i] += alive[i];
          NextToken(static_cast<int>(i));
        }
        if (row->drafted < row->num_drafts) more.push_back(row);
      }
      if (!more.empty()) controller.Review(more);
      std::erase_if(more, [](const DraftRow* row) { return !row->keep_drafting; });
      active = more;
    }
    outcome.sweep_seconds = Sweep(exit_layer, static_cast<int>(rows.size()), drafts);
    for (size_t i = 0; i < rows.size(); ++i) {
      outcome.emitted_tokens += 1 + accepted[i];
      if (!confidences[i].empty()) {
        controller.Verified(rows[i], confidences[i], accepted[i], false);
      }
      if (alive[i]) NextToken(static_cast<int>(i));
    }
    controller.End(outcome);
    result.tokens += outcome.emitted_tokens;
    result.seconds += outcome.draft_seconds + outcome.sweep_seconds + outcome.probe_seconds;
    result.probe_seconds += outcome.probe_seconds;
    result.drafted += drafts;
  }
  result.rounds = rounds;
  return result;
}

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_UNIT_DRAFT_WORLD_H_
