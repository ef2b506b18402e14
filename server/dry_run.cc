#include "server/dry_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include "engine/checkpoint/model_config.h"
#include "engine/planning/hardware.h"
#include "engine/planning/plan.h"
#include "engine/status_macros.h"
#include "kernels/limits.h"

namespace strata::server {
namespace {

// Well beyond any last-level cache.
constexpr size_t kMeasuredBytes = size_t{1} << 30;

// This machine as it is now; how much of its limits is reached is as on the CPU that we know.
absl::StatusOr<Hardware> ThisMachine(int threads) {
  ASSIGN_OR_RETURN(Hardware here, FindHardware("cpu"));
  here.name = kThisMachine;
  here.description = "this machine's CPU";
  here.memory_bytes =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  here.read_bytes_s = 1e9 * kernels::MeasureReadBandwidth(threads, kMeasuredBytes);
  here.flop_s = 1e9 * kernels::MeasureBf16Peak(threads);
  const double int8_flop_s = 1e9 * kernels::MeasureInt8Peak(threads);
  here.int8_flop_s = int8_flop_s > 0 ? int8_flop_s : here.flop_s;
  return here;
}

}  // namespace

absl::StatusOr<std::string> DryRun(const Options& options) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(options.model));
  PlanOptions plan_options;
  ASSIGN_OR_RETURN(plan_options.hardware, options.dry_run == kThisMachine
                                              ? ThisMachine(options.threads)
                                              : FindHardware(options.dry_run));
  plan_options.num_ranks = options.tensor_parallel;
  plan_options.weights = options.weights.value_or(kernels::WeightFormat::kBF16);
  plan_options.engine = options.engine;
  ASSIGN_OR_RETURN(const Plan plan, MakePlan(config, plan_options));
  if (plan.fits()) return ToText(plan);
  return absl::ResourceExhaustedError(
      fmt::format("{} does not fit\n\n{}", config.name, ToText(plan)));
}

}  // namespace strata::server
