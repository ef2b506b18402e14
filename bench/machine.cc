#include "bench/machine.h"

#include <fstream>
#include <string>

#include "kernels/limits.h"

namespace strata::bench {
namespace {

// Beyond the last-level caches of today's servers, so that memory is measured.
constexpr size_t kBandwidthBytes = size_t{1} << 30;

}  // namespace

Limits MeasureLimits(int num_threads) {
  return {kernels::MeasureReadBandwidth(num_threads, kBandwidthBytes),
          kernels::MeasureBf16Peak(num_threads), kernels::MeasureInt8Peak(num_threads)};
}

MachineRates MeasureRates(const Options& options) {
  const bool quantized = options.weights == kernels::WeightFormat::kInt8 ||
                         options.weights == kernels::WeightFormat::kInt4;
  return {kernels::MeasureReadBandwidth(options.num_threads, kBandwidthBytes),
          quantized ? kernels::MeasureInt8Peak(options.num_threads)
                    : kernels::MeasureBf16Peak(options.num_threads)};
}

ResidentMemory ReadResidentMemory() {
  ResidentMemory result;
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;) {
    int64_t kib = 0;
    if (key == "VmRSS:" && status >> kib) result.total_bytes = kib * 1024;
    if (key == "RssAnon:" && status >> kib) result.anonymous_bytes = kib * 1024;
  }
  return result;
}

}  // namespace strata::bench
