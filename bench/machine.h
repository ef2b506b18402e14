// What the machine can do, and what this process takes of it.

#ifndef STRATA_BENCH_MACHINE_H_
#define STRATA_BENCH_MACHINE_H_

#include <cstdint>

#include "bench/model_cost.h"
#include "bench/options.h"
#include "bench/report.h"

namespace strata::bench {

// About a second each: a shared machine's speed drifts, so that limits are measured again beside
// each figure.
Limits MeasureLimits(int num_threads);
MachineRates MeasureRates(const Options& options);

// Bytes of this process in memory; 0 where the system does not say.
struct ResidentMemory {
  int64_t total_bytes = 0;
  int64_t anonymous_bytes = 0;  // without mapped files, whose pages the system can drop
};
ResidentMemory ReadResidentMemory();

}  // namespace strata::bench

#endif  // STRATA_BENCH_MACHINE_H_
