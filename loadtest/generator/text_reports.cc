#include <fmt/format.h>

#include <string>
#include <string_view>

#include "loadtest/generator/report.h"
#include "nlohmann/json.hpp"

namespace strata::loadtest {
namespace {

using nlohmann::ordered_json;

constexpr double kMsPerS = 1000;

ordered_json PercentilesJson(const LogHistogram& histogram) {
  const auto ms = [&](double fraction) { return histogram.Percentile(fraction) * kMsPerS; };
  return {{"mean", histogram.mean() * kMsPerS},
          {"p50", ms(0.5)},
          {"p90", ms(0.9)},
          {"p95", ms(0.95)},
          {"p99", ms(0.99)},
          {"p999", ms(0.999)},
          {"max", ms(1)}};
}

ordered_json FailuresJson(const Summary& summary) {
  ordered_json failures = ordered_json::object();
  for (const auto& [code, calls] : summary.failures) {
    failures[code] = {{"calls", calls}, {"first_message", summary.first_error.at(code)}};
  }
  return failures;
}

ordered_json RunJson(const RunResult& run) {
  const Summary& summary = run.summary;
  return {{"load", run.load},
          {"seconds", summary.seconds},
          {"offered_calls_per_s", summary.offered_calls_per_s},
          {"calls", summary.calls},
          {"succeeded", summary.succeeded},
          {"cancelled", summary.cancelled},
          {"not_sent", summary.not_sent},
          {"failures", FailuresJson(summary)},
          {"calls_per_s", summary.calls_per_s},
          {"good_calls_per_s", summary.good_calls_per_s},
          {"tokens_per_s", summary.tokens_per_s},
          {"prompt_tokens", summary.prompt_tokens},
          {"cached_prompt_tokens", summary.cached_prompt_tokens},
          {"tokens", summary.tokens},
          {"acceptance_rate", summary.acceptance_rate()},
          {"ttft_ms", PercentilesJson(summary.ttft_s)},
          {"itl_ms", PercentilesJson(summary.itl_s)},
          {"token_time_ms", PercentilesJson(summary.token_time_s)},
          {"end_to_end_ms", PercentilesJson(summary.end_to_end_s)}};
}

int64_t NumFailed(const Summary& summary) {
  return summary.calls - summary.succeeded - summary.not_sent;
}

std::string Row(const RunResult& run) {
  const Summary& s = run.summary;
  const auto ms = [](const LogHistogram& histogram, double fraction) {
    return histogram.Percentile(fraction) * kMsPerS;
  };
  return fmt::format(
      "{:<18}{:>8}{:>7}{:>9.2f}{:>9.2f}{:>10.1f}{:>9.1f}{:>9.1f}{:>8.2f}{:>8.2f}{:>8.2f}{:>7.3f}\n",
      run.load, s.succeeded, NumFailed(s) + s.not_sent, s.calls_per_s, s.good_calls_per_s,
      s.tokens_per_s, ms(s.ttft_s, 0.5), ms(s.ttft_s, 0.99), ms(s.itl_s, 0.5), ms(s.itl_s, 0.95),
      ms(s.itl_s, 0.99), s.acceptance_rate());
}

// In quotes, as RFC 4180 has it.
std::string CsvField(std::string_view text) {
  std::string field = "\"";
  for (const char c : text) {
    if (c == '"') field += '"';
    field += c;
  }
  return field + '"';
}

// Empty where it has not happened.
std::string CsvTime(double seconds) {
  return seconds < 0 ? std::string() : fmt::format("{:.6f}", seconds);
}

}  // namespace

std::string ToTable(const LoadReport& report) {
  std::string table = fmt::format(
      "server   {}\nmodel    {}\n\n{:<18}{:>8}{:>7}{:>9}{:>9}{:>10}{:>9}{:>9}{:>8}{:>8}{:>8}{:>7}\n"
      "{:<18}{:>8}{:>7}{:>9}{:>9}{:>10}{:>9}{:>9}{:>8}{:>8}{:>8}{:>7}\n",
      report.server, report.model, "load", "ok", "failed", "calls", "good", "tokens", "TTFT",
      "TTFT", "ITL", "ITL", "ITL", "accep-", "", "", "", "/s", "/s", "/s", "p50 ms", "p99 ms",
      "p50 ms", "p95 ms", "p99 ms", "tance");
  for (const RunResult& run : report.runs) table += Row(run);
  for (const RunResult& run : report.runs) {
    for (const auto& [code, calls] : run.summary.failures) {
      table += fmt::format("{}: {} times {}: {}\n", run.load, calls, code,
                           run.summary.first_error.at(code));
    }
    if (run.summary.not_sent > 0) {
      table += fmt::format("{}: {} calls were due and not sent: too many were in flight\n",
                           run.load, run.summary.not_sent);
    }
  }
  return table;
}

std::string ToJson(const LoadReport& report) {
  ordered_json json = {{"server", report.server},
                       {"model", report.model},
                       {"started", report.started},
                       {"service_level",
                        {{"ttft_ms", report.level.ttft_s * kMsPerS},
                         {"token_time_ms", report.level.token_time_s * kMsPerS}}},
                       {"runs", ordered_json::array()}};
  for (const RunResult& run : report.runs) json["runs"].push_back(RunJson(run));
  // A server's message may hold any bytes.
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

std::string ToCsv(const LoadReport& report) {
  std::string csv =
      "load,call,entry,due_s,sent_s,first_token_s,last_token_s,end_s,prompt_tokens,"
      "cached_prompt_tokens,tokens,first_tokens,drafted_tokens,accepted_tokens,cancelled,code\n";
  for (const RunResult& run : report.runs) {
    for (const CallRecord& call : run.observations.calls) {
      csv += fmt::format(
          "{},{},{},{:.6f},{:.6f},{},{},{:.6f},{},{},{},{},{},{},{},{}\n", CsvField(run.load),
          call.index, CsvField(report.mix[call.entry].name), call.due_s, call.sent_s,
          CsvTime(call.first_token_s), CsvTime(call.last_token_s), call.end_s, call.prompt_tokens,
          call.cached_prompt_tokens, call.tokens, call.first_tokens, call.drafted_tokens,
          call.accepted_tokens, call.cancelled ? 1 : 0, CodeName(call.code));
    }
  }
  return csv;
}

}  // namespace strata::loadtest
