// The server's options: from flags, then the environment (STRATA_*), then a
// TOML file (--config).

#ifndef STRATA_SERVER_OPTIONS_H_
#define STRATA_SERVER_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "engine/tenant.h"
#include "kernels/tensor.h"
#include "kernels/weight_format.h"
#include "server/option_values.h"

namespace strata::server {

// Who shares the server with whom.
struct TenancyOptions {
  std::string metadata_key;  // of the calls' metadata, that names their tenant; empty: none does
  Tenant defaults;           // what holds for a tenant of which only the name is known
};

struct Options {
  std::string model;  // the checkpoint's folder
  HostPort listen{"127.0.0.1", 50051};
  std::optional<HostPort> metrics_listen = HostPort{"127.0.0.1", 9464};  // absent: no /metrics
  std::optional<kernels::WeightFormat> weights;  // absent: the packed folder's, else bf16
  int threads = 0;                               // 0: one per core
  EngineOptions engine;
  TenancyOptions tenancy;
  Speculation::Mode speculation = Speculation::Mode::kAuto;
  int default_max_new_tokens = 512;  // where neither request nor generation_config.json says
  int max_calls = 1024;              // calls of Inference in flight
  int max_message_bytes = 16 << 20;
  std::string accepted_license;
  std::string save_packed;  // a folder to write, instead of serving; empty: serve
  std::chrono::milliseconds drain_timeout{30'000};
  std::string port_file;  // empty: none
  std::string log_level = "info";
};

// What a command line asks for.
struct CommandLine {
  Options options;
  std::optional<std::string> message;  // --help or --version: print this and exit with 0
};

// Looks a variable of the environment up; null if it is not set.
using GetEnv = std::function<const char*(const std::string& name)>;

// `args` without the program's name. Reads the file that --config or
// STRATA_CONFIG names.
// Errors (INVALID_ARGUMENT) begin with the option as it was given: the flag,
// the environment variable, or the file and key.
absl::StatusOr<CommandLine> ParseOptions(const std::vector<std::string>& args,
                                         const GetEnv& get_env);

}  // namespace strata::server

#endif  // STRATA_SERVER_OPTIONS_H_
