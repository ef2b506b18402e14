#include "loadtest/generator/summary.h"

#include <algorithm>
#include <cstddef>

#include "absl/status/status.h"

namespace strata::loadtest {
namespace {

bool IsGood(const CallRecord& call, const ServiceLevel& level) {
  if (!call.has_token()) return false;
  return (level.ttft_s <= 0 || call.ttft_s() <= level.ttft_s) &&
         (level.token_time_s <= 0 || call.token_time_s() <= level.token_time_s);
}

void AddSucceeded(const CallRecord& call, Summary& summary) {
  ++summary.succeeded;
  summary.cancelled += call.cancelled ? 1 : 0;
  summary.prompt_tokens += call.prompt_tokens;
  summary.cached_prompt_tokens += call.cached_prompt_tokens;
  summary.tokens += call.tokens;
  summary.drafted_tokens += call.drafted_tokens;
  summary.accepted_tokens += call.accepted_tokens;
  if (call.has_token()) summary.ttft_s.Add(call.ttft_s());
  if (call.tokens > call.first_tokens) summary.token_time_s.Add(call.token_time_s());
  if (!call.cancelled) summary.end_to_end_s.Add(call.end_s - call.due_s);
}

double TokensReceived(const Observations& observations, double warmup_s, double end_s) {
  int64_t tokens = 0;
  for (size_t i = 0; i < observations.seconds.size(); ++i) {
    // Whole seconds; a warm-up and an end are rounded to them.
    const auto second = static_cast<double>(i);
    if (second >= warmup_s && second < end_s) tokens += observations.seconds[i].tokens;
  }
  return static_cast<double>(tokens);
}

}  // namespace

std::string CodeName(grpc::StatusCode code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

Summary Summarize(const Observations& observations, double warmup_s, double end_s,
                  const ServiceLevel& level) {
  Summary summary;
  summary.seconds = std::max(end_s - warmup_s, 1e-9);
  summary.not_sent = observations.not_sent;
  summary.itl_s = observations.gaps_s;
  int64_t served = 0, good = 0;
  for (const CallRecord& call : observations.calls) {
    // What a server that is behind finishes after the end is no speed of it.
    if (call.succeeded() && call.end_s >= warmup_s && call.end_s < end_s) {
      ++served;
      good += IsGood(call, level) ? 1 : 0;
    }
    if (call.due_s < warmup_s) continue;
    ++summary.calls;
    if (call.succeeded()) {
      AddSucceeded(call, summary);
    } else {
      ++summary.failures[CodeName(call.code)];
      summary.first_error.try_emplace(CodeName(call.code), call.error);
    }
  }
  summary.calls += summary.not_sent;
  summary.offered_calls_per_s = static_cast<double>(summary.calls) / summary.seconds;
  summary.calls_per_s = static_cast<double>(served) / summary.seconds;
  summary.good_calls_per_s = static_cast<double>(good) / summary.seconds;
  summary.tokens_per_s = TokensReceived(observations, warmup_s, end_s) / summary.seconds;
  return summary;
}

}  // namespace strata::loadtest
