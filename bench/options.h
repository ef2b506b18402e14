// What strata-bench is asked to measure.

#ifndef STRATA_BENCH_OPTIONS_H_
#define STRATA_BENCH_OPTIONS_H_

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/weight_format.h"

namespace strata::bench {

// What --only chooses from, in the order in which they run.
enum class Group {
  kStartUp,
  kPrefill,
  kDecode,
  kContext,
  kSpeculative,
  kMemory,
  // Only where asked for.
  kPolicy,
  kVerification,
  kOverhead
};

struct Options {
  std::string model;
  std::optional<kernels::WeightFormat> dtype;  // absent: a packed folder's own, else bf16
  kernels::WeightFormat weights = kernels::WeightFormat::kBF16;  // what that comes to
  int num_threads = 0;                                           // 0: one per core
  bool pin_threads = false;                                      // each to a core of its own
  int tensor_parallel = 1;    // ranks, which share the threads; GPUs
  bool on_gpu = false;        // the engine's device; measurements without an engine are the CPU's
  bool deterministic = true;  // on a GPU: see docs/GPU.md
  std::set<Group> groups = {Group::kStartUp, Group::kPrefill,     Group::kDecode,
                            Group::kContext, Group::kSpeculative, Group::kMemory};
  int decode_tokens = 128;                        // generated per sequence and repetition
  int repeat = 3;                                 // medians are taken over this many
  std::vector<int> prefill_tokens = {512, 4096};  // those that the checkpoint's context holds
  std::vector<int> batch_sizes = {1, 4, 8, 16, 32};
  std::vector<int> policy_batch_sizes = {1, 4, 16};
  std::vector<int> contexts = {128, 2048, 8192};  // those that the checkpoint's context holds
  // Of the speculative rows and their baseline; the model card's prompt.
  std::string prompt = "typing import List\ndef bucket_sort(A: List):";
  float temperature = 0;
  std::string text;              // a file to score; empty: none
  std::vector<int> exit_layers;  // empty: 1/16, 1/8, 1/4 and 1/2 of the depth
  std::vector<int> draft_tokens = {1, 2, 4, 6};
};

struct CommandLine {
  Options options;
  bool json = false;
  std::string help;  // not empty: --help was given, and this is its text
};

// `args` without the program's name. Errors: INVALID_ARGUMENT, with a message for people.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& args);

}  // namespace strata::bench

#endif  // STRATA_BENCH_OPTIONS_H_
