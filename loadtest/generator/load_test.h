// A whole load test: a run for each load that is asked for.

#ifndef STRATA_LOADTEST_GENERATOR_LOAD_TEST_H_
#define STRATA_LOADTEST_GENERATOR_LOAD_TEST_H_

#include <atomic>

#include "absl/status/statusor.h"
#include "loadtest/generator/options.h"
#include "loadtest/generator/report.h"

namespace strata::loadtest {

// Ends early, with what there is, once `stop` is true.
// Errors: those of the server's GetModelInfo (no server, most of all), of the trace's file.
absl::StatusOr<LoadReport> RunLoadTest(const Options& options, const std::atomic<bool>& stop);

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_LOAD_TEST_H_
