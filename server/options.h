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

// Who may connect and call.
struct AccessOptions {
  std::string tls_cert;       // PEM: the server's certificate and its intermediates; empty: no TLS
  std::string tls_key;        // PEM: its private key
  std::string tls_client_ca;  // PEM: who signs clients' certificates; empty: none are asked for
  std::string credentials;    // credentials.h; empty: no tokens are asked for
  std::vector<std::string> open_methods = {"grpc.health.v1.Health"};  // that need no token
  std::optional<bool> reflection;  // absent: unless tokens are asked for
  bool control = true;             // whether strata.v1.Control is served
  bool allow_insecure_listen = false;
};

// What one connection may take.
struct ConnectionOptions {
  int max_message_bytes = 16 << 20;
  int max_streams = 256;
  // How often a silent client is asked whether it lives.
  std::chrono::milliseconds keepalive{60'000};
  std::chrono::milliseconds handshake_timeout{10'000};
};

struct WatchdogOptions {
  std::chrono::milliseconds timeout{60'000};  // the least time that counts as stuck; 0: no watchdog
  bool exit = false;                          // whether a stuck process ends itself
};

// Who shares the server with whom.
struct TenancyOptions {
  std::string metadata_key;  // of the calls' metadata, that names their tenant; empty: none does
  Tenant defaults;           // what holds for a tenant of which only the name is known
};

// What Options::dry_run calls the machine that the server runs on.
inline constexpr char kThisMachine[] = "here";

enum class DeviceKind { kCpu, kCuda };

enum class LogFormat { kText, kJson };

struct Options {
  std::string model;  // the checkpoint's folder
  HostPort listen{"127.0.0.1", 50051};
  std::optional<HostPort> metrics_listen = HostPort{"127.0.0.1", 9464};  // absent: no /metrics
  std::optional<kernels::WeightFormat> weights;  // absent: the packed folder's, else bf16
  DeviceKind device = DeviceKind::kCpu;
  bool deterministic = true;  // what CudaBackendOptions says of it
  int threads = 0;            // of all ranks; 0: one per core
  bool pin_threads = false;   // each to a core of its own
  int tensor_parallel = 1;    // ranks
  EngineOptions engine;
  TenancyOptions tenancy;
  Speculation::Mode speculation = Speculation::Mode::kAuto;
  int default_max_new_tokens = 512;  // where neither request nor generation_config.json says
  int max_calls = 1024;              // calls of Inference in flight
  AccessOptions access;
  ConnectionOptions connection;
  WatchdogOptions watchdog;
  // How long a stream's tokens may wait for more of them, to share a message.
  std::chrono::milliseconds stream_interval{0};
  std::string audit_log;     // empty: none
  bool log_prompts = false;  // whether prompts and answers are logged
  std::string accepted_license;
  std::string save_packed;  // a folder to write, instead of serving; empty: serve
  std::string dry_run;      // a machine to plan for, instead of serving; empty: serve
  std::chrono::milliseconds drain_timeout{30'000};
  std::string port_file;  // empty: none
  std::string log_level = "info";
  LogFormat log_format = LogFormat::kText;
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
