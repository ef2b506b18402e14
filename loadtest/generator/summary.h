// The figures of a run.

#ifndef STRATA_LOADTEST_GENERATOR_SUMMARY_H_
#define STRATA_LOADTEST_GENERATOR_SUMMARY_H_

#include <cstdint>
#include <map>
#include <string>

#include "figures/log_histogram.h"
#include "loadtest/generator/collector.h"

namespace strata::loadtest {

// A call is good if its first token comes in time, and the others on average. 0: any time will do.
struct ServiceLevel {
  double ttft_s = 0;
  double token_time_s = 0;
};

// Counts and distributions are of the calls that were due between warm-up and end, distributions
// in seconds and of those that succeeded. Rates are of what happened in that time.
struct Summary {
  double seconds = 0;  // between warm-up and end
  double offered_calls_per_s = 0;
  int64_t calls = 0;  // due, sent or not
  int64_t succeeded = 0;
  int64_t cancelled = 0;  // of those succeeded: by us
  int64_t not_sent = 0;
  std::map<std::string, int64_t> failures;         // by status code's name
  std::map<std::string, std::string> first_error;  // by status code's name: the message

  double calls_per_s = 0;       // ended, having succeeded
  double good_calls_per_s = 0;  // within the service level: goodput
  double tokens_per_s = 0;      // received
  int64_t prompt_tokens = 0;
  int64_t cached_prompt_tokens = 0;
  int64_t tokens = 0;
  int64_t drafted_tokens = 0;
  int64_t accepted_tokens = 0;

  LogHistogram ttft_s;        // when the call was due, to its first token
  LogHistogram itl_s;         // from one delta to the next
  LogHistogram token_time_s;  // a call's mean time between tokens
  LogHistogram end_to_end_s;  // when the call was due, to its end

  double acceptance_rate() const {
    return drafted_tokens > 0
               ? static_cast<double>(accepted_tokens) / static_cast<double>(drafted_tokens)
               : 0;
  }
};

// `end_s`: when the last call could be due; calls due in [warmup_s, end_s) count.
Summary Summarize(const Observations& observations, double warmup_s, double end_s,
                  const ServiceLevel& level);

// gRPC's name, e.g. "RESOURCE_EXHAUSTED".
std::string CodeName(grpc::StatusCode code);

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_SUMMARY_H_
