#include "bench/simulator/contention.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/fair_queue.h"
#include "engine/status_macros.h"

namespace strata::sim {
namespace {

using kernels::kKvBlockTokens;

absl::StatusOr<std::unique_ptr<Simulation>> RunOf(const SimulationOptions& options,
                                                  const Trace& trace) {
  ASSIGN_OR_RETURN(std::unique_ptr<Simulation> simulation, Simulation::Create(options, trace));
  RETURN_IF_ERROR(simulation->Run());
  return simulation;
}

TraceOptions ChatTrace(int num_requests, double requests_per_s, uint64_t seed) {
  TraceOptions options;
  options.num_requests = num_requests;
  options.requests_per_s = requests_per_s;
  options.prompt = {Lengths::Kind::kLogNormal, 256, 0.8, 1024};
  options.output = {Lengths::Kind::kLogNormal, 128, 0.8, 512};
  options.seed = seed;
  return options;
}

// Requests per second at full load.
absl::StatusOr<double> Capacity(SimulationOptions options) {
  options.concurrency = 2 * options.scheduler.max_sequences;
  const int num_requests = 20 * options.scheduler.max_sequences;
  ASSIGN_OR_RETURN(const Trace trace, MakeTrace(ChatTrace(num_requests, 1, options.seed)));
  ASSIGN_OR_RETURN(const auto simulation, RunOf(options, trace));
  return num_requests / Summarize(simulation->recorder()).seconds;
}

Trace OfTenant(const Trace& trace, int tenant) {
  Trace result;
  std::copy_if(trace.begin(), trace.end(), std::back_inserter(result),
               [tenant](const TraceRequest& request) { return request.tenant == tenant; });
  return result;
}

absl::Status MeasureBacklog(SimulationOptions options, FairnessResult& result) {
  options.kv_tokens = 8192;  // the bound grows with it
  options.max_queue = 1 << 20;
  TraceOptions trace_options = ChatTrace(4400, 1e5, options.seed);
  trace_options.tenant_weights = {10, 1};
  ASSIGN_OR_RETURN(const Trace trace, MakeTrace(trace_options));
  ASSIGN_OR_RETURN(const auto simulation, RunOf(options, trace));
  const ServiceGap& gap = simulation->recorder().service_gap();
  result.largest_gap = gap.largest();
  const double longest_prompt = kPromptTokenCost * trace_options.prompt.max;
  const double running = kOutputTokenCost * simulation->kv_blocks() * kKvBlockTokens;
  result.bound = 2 * std::max(longest_prompt, running);
  for (int i = 0; i < 2; ++i) result.services[i] = gap.service(i);
  return absl::OkStatus();
}

absl::Status MeasureLightTenant(const SimulationOptions& options, FairnessResult& result) {
  ASSIGN_OR_RETURN(const double capacity, Capacity(options));
  TraceOptions trace_options = ChatTrace(8800, 1.1 * capacity, options.seed);
  trace_options.tenant_weights = {10, 1};
  ASSIGN_OR_RETURN(const Trace trace, MakeTrace(trace_options));
  ASSIGN_OR_RETURN(const auto both, RunOf(options, trace));
  result.contended_ttft_p95_s = TtftPercentile(both->recorder(), 1, 0.95);
  const Trace light = OfTenant(trace, 1);
  ASSIGN_OR_RETURN(const auto alone, RunOf(options, light));
  result.alone_ttft_p95_s = TtftPercentile(alone->recorder(), 1, 0.95);
  return absl::OkStatus();
}

const char* Verdict(bool kept) { return kept ? "ok" : "MISSED"; }

std::string FairnessToText(const FairnessResult& result) {
  const double ratio = result.contended_ttft_p95_s / result.alone_ttft_p95_s;
  return fmt::format(
             "Two tenants, one sends 10x the load of the other\n"
             "  both always wait: services {:.0f} and {:.0f}, largest gap {:.0f}; bound {:.0f}: "
             "{}\n",
             result.services[0], result.services[1], result.largest_gap, result.bound,
             Verdict(result.largest_gap <= result.bound)) +
         fmt::format(
             "  the light one at a tenth of the capacity: TTFT p95 {:.1f} ms alone, {:.1f} ms "
             "contended: {:.2f}x; bound 2x: {}\n",
             1e3 * result.alone_ttft_p95_s, 1e3 * result.contended_ttft_p95_s, ratio,
             Verdict(ratio <= 2));
}

std::string LongPromptToText(const LongPromptResult& result) {
  return fmt::format(
      "A prompt of 6,000 tokens among 16 streams\n"
      "  a round {:.2f} ms, with a chunk {:.2f} ms; ITL while it is computed p99 {:.2f} ms, most "
      "{:.2f} ms: {:.2f}x; bound 2x: {}\n  its TTFT {:.0f} ms\n",
      1e3 * result.round_s, 1e3 * result.chunk_s, 1e3 * result.itl_p99_s, 1e3 * result.itl_most_s,
      result.itl_p99_s / result.chunk_s, Verdict(result.itl_p99_s <= 2 * result.chunk_s),
      1e3 * result.prompt_ttft_s);
}

std::string SmallPoolToText(const SmallPoolResult& result) {
  return fmt::format(
      "A KV pool of a quarter\n"
      "  {} blocks wanted, {} given: {} of {} finished, {} preemptions; bound {}: {}; {:.2f}x the "
      "time\n",
      result.blocks_wanted, result.blocks_given, result.finished, result.requests,
      result.preemptions, result.most_preemptions,
      Verdict(result.finished == result.requests && result.preemptions <= result.most_preemptions),
      result.slowdown);
}

}  // namespace

absl::StatusOr<FairnessResult> MeasureFairness(const SimulationOptions& options) {
  FairnessResult result;
  RETURN_IF_ERROR(MeasureBacklog(options, result));
  RETURN_IF_ERROR(MeasureLightTenant(options, result));
  return result;
}

absl::StatusOr<LongPromptResult> MeasureLongPrompt(const SimulationOptions& options) {
  constexpr int kStreams = 16, kPromptTokens = 6000, kStreamPrompt = 200;
  constexpr double kArrival = 1;  // by then the streams decode
  Trace trace(kStreams, TraceRequest{0, 0, kStreamPrompt, 1000, -1, 0, 512});
  trace.push_back({kArrival, 1, kPromptTokens, 16, -1, 0, 512});
  SimulationOptions fine = options;
  fine.interval_s = 0.01;
  ASSIGN_OR_RETURN(const auto simulation, RunOf(fine, trace));
  const RequestRecord& prompt = simulation->recorder().requests().back();
  LongPromptResult result;
  result.prompt_ttft_s = prompt.first_token_s - prompt.submitted_s;
  LogHistogram itl;
  for (const Interval& interval : simulation->recorder().intervals()) {
    const bool before = interval.start_s + interval.seconds <= prompt.started_s;
    if (!before && interval.start_s < prompt.first_token_s) itl.Merge(interval.itl);
  }
  result.itl_p99_s = itl.Percentile(0.99);
  result.itl_most_s = itl.Percentile(1);
  const Roofline& roofline = simulation->roofline();
  const auto round = [&](int chunk) {
    constexpr int64_t kStreamContext = kStreamPrompt + 100;
    LayerWork work{kStreams + chunk, kStreams * kStreamContext, kStreams * kStreamContext};
    if (chunk > 0) work.kv_tokens += kPromptTokens;
    work.attention_pairs += int64_t{chunk} * kPromptTokens;
    return roofline.ForwardSeconds() + roofline.config().num_layers * roofline.LayerSeconds(work) +
           roofline.HeadSeconds(kStreams, roofline.config().vocab_size);
  };
  result.round_s = round(0);
  result.chunk_s = round(
      std::min(options.scheduler.max_prefill_chunk, options.scheduler.max_batch_tokens - kStreams));
  return result;
}

absl::StatusOr<SmallPoolResult> MeasureSmallPool(const SimulationOptions& options) {
  ASSIGN_OR_RETURN(const Trace trace, MakeTrace(ChatTrace(1000, 1e5, options.seed)));
  ASSIGN_OR_RETURN(const auto ample, RunOf(options, trace));
  SmallPoolResult result;
  for (const Interval& interval : ample->recorder().intervals()) {
    result.blocks_wanted = std::max(result.blocks_wanted, interval.most_kv_blocks);
  }
  SimulationOptions small = options;
  small.kv_tokens = int64_t{result.blocks_wanted} * kKvBlockTokens / 4;
  ASSIGN_OR_RETURN(const auto tight, RunOf(small, trace));
  const Summary summary = Summarize(tight->recorder());
  result.blocks_given = tight->kv_blocks();
  result.requests = summary.requests;
  result.finished = summary.finished;
  result.preemptions = summary.preemptions;
  for (const TraceRequest& request : trace) {
    const int tokens = request.prompt_tokens + request.output_tokens;
    result.most_preemptions +=
        Scheduler::MostEvictions((tokens + kKvBlockTokens - 1) / kKvBlockTokens);
  }
  result.slowdown = summary.seconds / Summarize(ample->recorder()).seconds;
  return result;
}

absl::StatusOr<std::string> ContentionToText(const SimulationOptions& options) {
  ASSIGN_OR_RETURN(const FairnessResult fairness, MeasureFairness(options));
  ASSIGN_OR_RETURN(const LongPromptResult long_prompt, MeasureLongPrompt(options));
  ASSIGN_OR_RETURN(const SmallPoolResult small_pool, MeasureSmallPool(options));
  return FairnessToText(fairness) + LongPromptToText(long_prompt) + SmallPoolToText(small_pool);
}

}  // namespace strata::sim
