// What strata-bench prints: one figure a row, as a table or as JSON.

#ifndef STRATA_BENCH_REPORT_H_
#define STRATA_BENCH_REPORT_H_

#include <optional>
#include <string>
#include <vector>

#include "bench/model_cost.h"

namespace strata::bench {

// What the machine can do at best, measured in the same run.
struct Limits {
  double read_gb_s = 0;
  double bf16_gflop_s = 0;
  double int8_gop_s = 0;
};

struct Speculative {
  double acceptance_rate = 0;
  double tokens_per_round = 0;   // tau
  double draft_cost = 0;         // c: a micro-step's time over an autoregressive round's
  double speedup = 0;            // over autoregressive, in the same run
  double predicted_speedup = 0;  // tau / (1 + K c)
};

// Automatic speculation, whose speed is the row's value, beside others in the same run. Tokens/s.
struct AutoComparison {
  double off = 0;
  double least_of_off = 0, most_of_off = 0;  // where the rate over off's lies but for 5%
  double best_fixed = 0;                     // of the grid; 0: there was none
  std::string best_name;
  double acceptance_rate = 0;   // of the automatic run's drafts
  double drafts_per_round = 0;  // and sequence
};

struct Row {
  std::string name;
  double value = 0;
  std::string unit = {};
  double limit = 0;  // in the same unit; 0: none known. Of memory: what weights and KV pool take
  std::string bound = {};                   // what sets the limit, "read" or "dot"; empty: neither
  std::optional<MachineRates> beside = {};  // medians, measured before each repetition
  std::optional<Speculative> speculative = {};
  std::optional<AutoComparison> comparison = {};
};

struct Report {
  std::string model;
  std::string backend;
  Limits limits;  // of the CPU; zeros: not measured
  std::vector<Row> rows;
};

std::string ToTable(const Report& report);
// {"model", "backend", "limits": {"read_gb_s", "bf16_gflop_s", "int8_gop_s"},
//  "results": [{"name", "value", "unit", "limit", "fraction", ...}]}; prefill and decode rows also
// have "bound", "read_gb_s", "dot_gop_s", speculative ones "acceptance_rate", "tokens_per_round",
// "draft_cost", "speedup", "predicted_speedup"; policy rows "off", "least_of_off",
// "most_of_off", "best_fixed", "best_name", "acceptance_rate", "drafts_per_round".
std::string ToJson(const Report& report);

}  // namespace strata::bench

#endif  // STRATA_BENCH_REPORT_H_
