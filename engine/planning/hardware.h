// What simulated machines can do, from public sources.

#ifndef STRATA_ENGINE_PLANNING_HARDWARE_H_
#define STRATA_ENGINE_PLANNING_HARDWARE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace strata {

// One machine and the software on it, as far as times go. Rates are of one device.
struct Hardware {
  std::string name;
  std::string description;
  // The machine's own memory and cores: ranks share them, and the embedding is read from its file.
  bool is_host = false;
  int num_devices = 1;            // at most so many tensor-parallel ranks
  double memory_bytes = 0;        // of one device
  double read_bytes_s = 0;        // memory bandwidth, by the data sheet or measured
  double flop_s = 0;              // bf16 or f16, without sparsity; a multiply-add counts two
  double int8_flop_s = 0;         // of products with quantised weights
  double read_efficiency = 1;     // the part of read_bytes_s that products reach
  double flop_efficiency = 1;     // the part of flop_s that large products reach
  double layer_overhead_s = 0;    // gaps between the kernels of one layer
  double layer_issue_s = 0;       // the host's time to issue one layer: a floor under the layer's
                                  // own time. 0: issued as a graph, or no device
  double forward_overhead_s = 0;  // of one pass through some layers, and of one head
  double sample_row_s = 0;        // from one row of logits to a token
  double all_reduce_latency_s = 0;
  double all_reduce_bytes_s = 0;  // bus bandwidth: 2 (n - 1) / n of the message pass through it
};

// "cpu", "1xA100", "8xA100", "8xH100", "1xH200", "transformers-A100".
const std::vector<Hardware>& KnownHardware();
// Errors: NOT_FOUND, with the known names.
absl::StatusOr<Hardware> FindHardware(std::string_view name);

}  // namespace strata

#endif  // STRATA_ENGINE_PLANNING_HARDWARE_H_
