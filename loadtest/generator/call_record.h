// What one call of a load test came to.

#ifndef STRATA_LOADTEST_GENERATOR_CALL_RECORD_H_
#define STRATA_LOADTEST_GENERATOR_CALL_RECORD_H_

#include <grpcpp/support/status_code_enum.h>

#include <cstdint>
#include <string>
#include <vector>

namespace strata::loadtest {

// Times in seconds since the run's start. A call is late from when it was due, not from when it
// was sent: a generator that cannot keep up must not look like a fast server.
struct CallRecord {
  int64_t index = 0;
  int entry = 0;  // of the mix
  double due_s = 0;
  double sent_s = 0;
  double first_token_s = -1;  // negative: there was none
  double last_token_s = -1;
  double end_s = 0;
  int prompt_tokens = 0;
  int cached_prompt_tokens = 0;
  int tokens = 0;
  int first_tokens = 0;  // of those, what came with first_token_s
  int drafted_tokens = 0;
  int accepted_tokens = 0;
  bool cancelled = false;  // by us, on purpose
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string error;                // the status's message
  std::vector<float> token_gaps_s;  // between deltas with tokens, one after another

  // Whether the server did what it was asked for.
  bool succeeded() const {
    return code == grpc::StatusCode::OK || (cancelled && code == grpc::StatusCode::CANCELLED);
  }
  bool has_token() const { return first_token_s >= 0; }
  double ttft_s() const { return first_token_s - due_s; }
  // Mean time from one token to the next; 0 where all came at once.
  double token_time_s() const {
    return tokens > first_tokens ? (last_token_s - first_token_s) / (tokens - first_tokens) : 0;
  }
};

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_CALL_RECORD_H_
