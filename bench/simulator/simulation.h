// Runs a trace on the real step loop (scheduler, sequences, round, policy)
// with a simulated model, in simulated time.

#ifndef STRATA_BENCH_SIMULATOR_SIMULATION_H_
#define STRATA_BENCH_SIMULATOR_SIMULATION_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/simulator/recorder.h"
#include "bench/simulator/simulated_model.h"
#include "bench/simulator/token_process.h"
#include "bench/simulator/trace.h"
#include "bench/simulator/virtual_clock.h"
#include "engine/planning/hardware.h"
#include "engine/planning/roofline.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/step_loop.h"

namespace strata::sim {

struct SimulationOptions {
  ModelConfig model;
  Hardware hardware;
  int tensor_parallel = 0;  // 0: all devices of the hardware
  kernels::WeightFormat weights = kernels::WeightFormat::kBF16;
  AcceptanceOptions acceptance;
  SchedulerLimits scheduler{512, 256, 512};
  int max_queue = 4096;  // waiting beside scheduler.max_sequences; one more is refused
  bool prefix_cache = true;
  bool tells_tenants_apart = true;  // false: to the engine all are one
  int64_t kv_tokens = 0;            // 0: what fits, at most kMaxKvTokens
  Speculation speculation;
  double latency_ceiling_s = 0;  // of a round, for auto; 0: none
  int concurrency = 0;  // so many clients, each with one request at a time; 0: by arrival times
  double time_noise = 0.02;
  double interval_s = 0.1;
  uint64_t seed = 1;
};

// Of a pool that is not limited otherwise: a host's memory for 24 bytes of state each.
inline constexpr int64_t kMaxKvTokens = int64_t{4} << 20;

// One run of one engine. Not copyable: the parts point at each other.
class Simulation {
 public:
  // Errors: INVALID_ARGUMENT (options that do not fit each other).
  static absl::StatusOr<std::unique_ptr<Simulation>> Create(const SimulationOptions& options,
                                                            const Trace& trace);

  // To the last token. Errors: INVALID_ARGUMENT (a request that never fits), INTERNAL if the engine
  // broke an invariant: it stood still, wrote a wrong token, read KV that was not there, or kept
  // blocks.
  absl::Status Run();

  const Recorder& recorder() const { return recorder_; }
  const EngineCounters& counters() const { return loop_->counters(); }
  const Roofline& roofline() const { return roofline_; }
  int kv_blocks() const { return model_->limits().num_kv_blocks; }

 private:
  Simulation(const SimulationOptions& options, const Trace& trace, TokenProcess process,
             int num_tenants);

  absl::Status CheckFits() const;
  void SubmitDue();
  void SubmitNext(Instant submitted);
  absl::Status StepOrWait();
  absl::Status CheckInvariants();

  const SimulationOptions options_;
  const Trace& trace_;
  const Roofline roofline_;
  const TokenProcess process_;
  const int max_context_;
  VirtualClock clock_;
  Recorder recorder_;
  std::unique_ptr<SimulatedModel> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<SpeculationPolicy> policy_;
  std::unique_ptr<StepLoop> loop_;
  size_t next_ = 0;  // of the trace
};

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_SIMULATION_H_
