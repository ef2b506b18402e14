// What all measurements of one run share.

#ifndef STRATA_BENCH_SESSION_H_
#define STRATA_BENCH_SESSION_H_

#include <algorithm>
#include <vector>

#include "bench/model_cost.h"
#include "bench/options.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "engine/engine.h"

namespace strata::bench {

// References outlive it. The engine reports to `rounds` and is otherwise idle.
struct Session {
  const Options& options;
  Engine& engine;
  RoundTotals& rounds;
  const ModelCost& cost;
  Report& report;
};

// Of a list that is not empty; the upper one of two.
template <typename T, typename Projection>
double MedianOf(const std::vector<T>& items, Projection value) {
  std::vector<double> values;
  for (const T& item : items) values.push_back(value(item));
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace strata::bench

#endif  // STRATA_BENCH_SESSION_H_
