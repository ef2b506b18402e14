#include "server/option_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "engine/planning/hardware.h"
#include "engine/status_macros.h"
#include "kernels/cuda/cuda_backend.h"
#include "server/tenancy.h"

namespace strata::server {
namespace {

using Setter = std::function<absl::Status(const std::string&, Options*)>;

constexpr int64_t kMany = 1 << 20;

template <typename Field>  // Field: Options* -> int&
Setter Integer(Field field, int64_t min, int64_t max) {
  return [=](const std::string& text, Options* options) {
    ASSIGN_OR_RETURN(const int64_t value, ParseInteger(text, min, max));
    field(options) = static_cast<int>(value);
    return absl::OkStatus();
  };
}

absl::Status OneOf(const std::string& text, const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), text) != choices.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("'{}' is not one of {}", text, fmt::join(choices, ", ")));
}

absl::Status SetDevice(const std::string& text, Options* options) {
  RETURN_IF_ERROR(OneOf(text, {"cpu", "cuda"}));
  options->device = text == "cuda" ? DeviceKind::kCuda : DeviceKind::kCpu;
  if (text == "cpu" || kernels::HasCudaBackend()) return absl::OkStatus();
  return absl::InvalidArgumentError("this build has no CUDA backend; use cpu");
}

absl::Status SetDeterministic(const std::string& text, Options* options) {
  RETURN_IF_ERROR(OneOf(text, {"on", "off"}));
  options->deterministic = text == "on";
  return absl::OkStatus();
}

absl::Status SetDtype(const std::string& text, Options* options) {
  kernels::WeightFormat format;
  RETURN_IF_ERROR(OneOf(text, {"bf16", "f16", "f32", "int8", "int4"}));
  kernels::ParseWeightFormat(text.c_str(), &format);
  options->weights = format;
  return absl::OkStatus();
}

absl::Status SetRankTimeout(const std::string& text, Options* options) {
  ASSIGN_OR_RETURN(options->engine.rank_timeout, ParseDuration(text));
  return absl::OkStatus();
}

absl::Status SetMaxQueueTime(const std::string& text, Options* options) {
  ASSIGN_OR_RETURN(options->engine.max_queue_time, ParseDuration(text));
  return absl::OkStatus();
}

absl::Status SetStreamInterval(const std::string& text, Options* options) {
  ASSIGN_OR_RETURN(options->stream_interval, ParseDuration(text));
  return absl::OkStatus();
}

absl::Status SetDryRun(const std::string& text, Options* options) {
  options->dry_run = text.empty() ? kThisMachine : text;
  return options->dry_run == kThisMachine ? absl::OkStatus() : FindHardware(text).status();
}

absl::Status SetSpeculation(const std::string& text, Options* options) {
  RETURN_IF_ERROR(OneOf(text, {"off", "fixed", "auto"}));
  options->speculation = text == "off"     ? Speculation::Mode::kOff
                         : text == "fixed" ? Speculation::Mode::kFixed
                                           : Speculation::Mode::kAuto;
  return absl::OkStatus();
}

template <typename Field>  // Field: Options* -> int64_t&
Setter TokensPerMinute(Field field) {
  return [=](const std::string& text, Options* options) {
    ASSIGN_OR_RETURN(field(options), ParseInteger(text, 0, int64_t{1} << 40));
    return absl::OkStatus();
  };
}

absl::Status SetTenantMetadataKey(const std::string& text, Options* options) {
  RETURN_IF_ERROR(CheckMetadataKey(text));
  options->tenancy.metadata_key = text;
  return absl::OkStatus();
}

absl::Status SetListen(const std::string& text, Options* options) {
  ASSIGN_OR_RETURN(options->listen, ParseHostPort(text));
  return absl::OkStatus();
}

absl::Status SetMetricsListen(const std::string& text, Options* options) {
  options->metrics_listen.reset();
  if (text == "none") return absl::OkStatus();
  ASSIGN_OR_RETURN(options->metrics_listen, ParseHostPort(text));
  return absl::OkStatus();
}

absl::Status SetKvCacheMemory(const std::string& text, Options* options) {
  ASSIGN_OR_RETURN(options->engine.kv_cache_bytes, ParseByteSize(text));
  return absl::OkStatus();
}

absl::Status SetVerification(const std::string& text, Options* options) {
  RETURN_IF_ERROR(OneOf(text, {"block", "token"}));
  options->engine.verification = text == "block" ? Verification::kBlock : Verification::kToken;
  return absl::OkStatus();
}

absl::Status SetDraftDistributionMemory(const std::string& text, Options* options) {
  ASSIGN_OR_RETURN(options->engine.draft_distribution_bytes, ParseByteSize(text));
  return absl::OkStatus();
}

absl::Status SetMaxMessageSize(const std::string& text, Options* options) {
  ASSIGN_OR_RETURN(const int64_t bytes, ParseByteSize(text));
  if (bytes > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError(fmt::format("{} is more than 2 GiB", text));
  }
  options->connection.max_message_bytes = static_cast<int>(bytes);
  return absl::OkStatus();
}

template <typename Field>  // Field: Options* -> std::chrono::milliseconds&
Setter Time(Field field, std::chrono::milliseconds min = {}) {
  return [=](const std::string& text, Options* options) {
    ASSIGN_OR_RETURN(const std::chrono::milliseconds value, ParseDuration(text));
    if (value < min) {
      return absl::InvalidArgumentError(fmt::format("{} is less than {}ms", text, min.count()));
    }
    field(options) = value;
    return absl::OkStatus();
  };
}

template <typename Field>  // Field: Options* -> bool&
Setter Switch(Field field) {
  return [=](const std::string& text, Options* options) {
    ASSIGN_OR_RETURN(field(options), ParseSwitch(text));
    return absl::OkStatus();
  };
}

absl::Status SetReflection(const std::string& text, Options* options) {
  options->access.reflection.reset();
  if (text == "auto") return absl::OkStatus();
  ASSIGN_OR_RETURN(options->access.reflection, ParseSwitch(text));
  return absl::OkStatus();
}

absl::Status SetOpenMethods(const std::string& text, Options* options) {
  options->access.open_methods = SplitList(text);
  return absl::OkStatus();
}

absl::Status SetLogLevel(const std::string& text, Options* options) {
  RETURN_IF_ERROR(OneOf(text, {"debug", "info", "warn", "error", "off"}));
  options->log_level = text;
  return absl::OkStatus();
}

absl::Status SetLogFormat(const std::string& text, Options* options) {
  RETURN_IF_ERROR(OneOf(text, {"text", "json"}));
  options->log_format = text == "json" ? LogFormat::kJson : LogFormat::kText;
  return absl::OkStatus();
}

Setter String(std::string Options::*field) {
  return [field](const std::string& text, Options* options) {
    options->*field = text;
    return absl::OkStatus();
  };
}

Setter AccessString(std::string AccessOptions::*field) {
  return [field](const std::string& text, Options* options) {
    options->access.*field = text;
    return absl::OkStatus();
  };
}

// What opens the server to others, and how far.
std::vector<OptionSpec> AccessTable() {
  using std::chrono::milliseconds;
  return {
      {"tls-cert", "FILE", "Serves over TLS with this certificate chain (PEM)",
       AccessString(&AccessOptions::tls_cert)},
      {"tls-key", "FILE", "The certificate's private key (PEM)",
       AccessString(&AccessOptions::tls_key)},
      {"tls-client-ca", "FILE", "Asks clients for a certificate signed by one of these (PEM)",
       AccessString(&AccessOptions::tls_client_ca)},
      {"credentials", "FILE", "Asks callers for a token; the file names tenants and tokens (TOML)",
       AccessString(&AccessOptions::credentials)},
      {"open-methods", "LIST",
       "Services, or SERVICE/METHOD, that need no token, by commas [grpc.health.v1.Health]",
       SetOpenMethods},
      {"reflection", "on|off|auto", "Whether reflection is served; auto: without tokens [auto]",
       SetReflection},
      {"control", "on|off", "Whether strata.v1.Control is served [on]",
       Switch([](Options* o) -> bool& { return o->access.control; })},
      {"allow-insecure-listen", "", "Listens beyond this machine without TLS, and for /metrics",
       Switch([](Options* o) -> bool& { return o->access.allow_insecure_listen; })},
      {"max-streams", "N", "Calls at once on one connection; more wait at the client [256]",
       Integer([](Options* o) -> int& { return o->connection.max_streams; }, 1, kMany)},
      {"keepalive", "TIME", "How often a silent client is asked whether it lives [60s]",
       Time([](Options* o) -> milliseconds& { return o->connection.keepalive; },
            milliseconds(100))},
      {"handshake-timeout", "TIME", "How long a connection may take to be set up [10s]",
       Time([](Options* o) -> milliseconds& { return o->connection.handshake_timeout; },
            milliseconds(100))},
      {"audit-log", "FILE", "Appends a line of JSON for each call: who used how many tokens",
       String(&Options::audit_log)},
      {"log-prompts", "", "Logs prompts and answers, too",
       Switch([](Options* o) -> bool& { return o->log_prompts; })},
  };
}

// Who gets how much.
std::vector<OptionSpec> SharingTable() {
  return {
      {"max-prefill-chunk", "N",
       "Rows of prompts in one pass, all together; 0: max-batch-tokens [0]",
       Integer([](Options* o) -> int& { return o->engine.max_prefill_chunk; }, 0, kMany)},
      {"prefix-cache", "on|off", "Keeps what was computed for prompts that begin alike [on]",
       Switch([](Options* o) -> bool& { return o->engine.prefix_cache; })},
      {"max-tokens-per-minute", "N",
       "Of prompts and answers, on average; more are refused; 0: no limit [0]",
       TokensPerMinute([](Options* o) -> int64_t& { return o->engine.max_tokens_per_minute; })},
      {"tenant-metadata-key", "KEY",
       "Metadata of a call that names its tenant, for fair shares; whoever calls is believed",
       SetTenantMetadataKey},
      {"tenant-max-running", "N", "Sequences of one tenant running at once; 0: no limit [0]",
       Integer([](Options* o) -> int& { return o->tenancy.defaults.max_running; }, 0, kMany)},
      {"tenant-max-queue", "N", "Requests of one tenant waiting; 0: no limit but max-queue [0]",
       Integer([](Options* o) -> int& { return o->tenancy.defaults.max_queued; }, 0, kMany)},
      {"tenant-max-tokens-per-minute", "N", "The same as max-tokens-per-minute, of one tenant [0]",
       TokensPerMinute(
           [](Options* o) -> int64_t& { return o->tenancy.defaults.max_tokens_per_minute; })},
      {"tenant-isolated-prefixes", "on|off",
       "A tenant's prompts are found in the prefix cache by itself only [off]",
       Switch([](Options* o) -> bool& { return o->tenancy.defaults.isolates_prefixes; })},
  };
}

std::vector<OptionSpec> MakeTable() {
  using std::chrono::milliseconds;
  std::vector<OptionSpec> table = {
      {"model", "DIR", "The checkpoint's folder, packed or not (required)",
       String(&Options::model)},
      {"listen", "HOST:PORT", "Where gRPC listens; port 0 picks a free one [127.0.0.1:50051]",
       SetListen},
      {"metrics-listen", "HOST:PORT", "Where /metrics listens, or 'none' [127.0.0.1:9464]",
       SetMetricsListen},
      {"device", "cpu|cuda", "Where the model runs [cpu]", SetDevice},
      {"deterministic", "on|off",
       "On a GPU: the same answers whatever runs beside them; off: cuBLAS, faster [on]",
       SetDeterministic},
      {"dtype", "bf16|f16|f32|int8|int4",
       "Format of the weights, int8 and int4 being quantised at load, f16 on GPUs only; KV is "
       "bf16, with f16 and f32 weights as they are [a packed folder's own, else bf16]",
       SetDtype},
      {"save-packed", "OUT", "Writes a packed folder, which starts at once, instead of serving",
       String(&Options::save_packed)},
      {"dry-run", "[MACHINE]",
       "Prints what the model would take and give there, and ends: here, 1xA100, 8xA100, 1xH100, "
       "8xH100, 1xH200 [here]",
       SetDryRun},
      {"threads", "N", "Threads that compute; 0: one per core [0]",
       Integer([](Options* o) -> int& { return o->threads; }, 0, 1024)},
      {"pin-threads", "on|off", "Each of them stays on a core of its own [off]",
       Switch([](Options* o) -> bool& { return o->pin_threads; })},
      {"tensor-parallel", "N", "Ranks that the model is split over; they share the threads [1]",
       Integer([](Options* o) -> int& { return o->tensor_parallel; }, 1, 64)},
      {"rank-timeout", "TIME", "How late a rank may be before the server gives up [60s]",
       SetRankTimeout},
      {"kv-cache-memory", "SIZE", "Memory of the KV cache, of all ranks, e.g. 512MiB [2GiB]",
       SetKvCacheMemory},
      {"max-batch-tokens", "N", "Rows of one pass through the model [512]",
       Integer([](Options* o) -> int& { return o->engine.max_batch_tokens; }, 1, kMany)},
      {"max-sequences", "N", "Sequences running at once [64]",
       Integer([](Options* o) -> int& { return o->engine.max_sequences; }, 1, kMany)},
      {"max-queue", "N", "Requests waiting; more are refused [256]",
       Integer([](Options* o) -> int& { return o->engine.max_queue; }, 0, kMany)},
      {"max-queue-time", "TIME", "Requests that would wait longer are refused; 0s: none [0s]",
       SetMaxQueueTime},
      {"max-context", "N", "Positions per sequence; 0: the checkpoint's maximum [0]",
       Integer([](Options* o) -> int& { return o->engine.max_context; }, 0, int64_t{1} << 30)},
      {"max-calls", "N", "Inference calls in flight; more are refused [1024]",
       Integer([](Options* o) -> int& { return o->max_calls; }, 1, kMany)},
      {"max-message-size", "SIZE", "Largest request message [16MiB]", SetMaxMessageSize},
      {"stream-interval", "TIME", "How long tokens may wait for more, to share a message [0ms]",
       SetStreamInterval},
      {"default-max-new-tokens", "N",
       "max_new_tokens where neither request nor generation_config.json says [512]",
       Integer([](Options* o) -> int& { return o->default_max_new_tokens; }, 1, kMany)},
      {"speculation", "off|fixed|auto", "Drafting where a request does not say [auto]",
       SetSpeculation},
      {"exit-layer", "E", "Layers that draft by default; 0: by the model's depth [0]",
       Integer([](Options* o) -> int& { return o->engine.default_exit_layer; }, 0, 1000)},
      {"num-draft-tokens", "K", "Drafted per round by default; 0: by the model's depth [0]",
       Integer([](Options* o) -> int& { return o->engine.default_num_draft_tokens; }, 0, 32)},
      {"max-draft-tokens", "K",
       "Drafted per round at most, whatever requests ask; 0: nobody drafts [32]",
       Integer([](Options* o) -> int& { return o->engine.max_draft_tokens; }, 0, kMaxDraftTokens)},
      {"max-inter-token-latency-ms", "N",
       "auto does not draft where a round would take longer; 0: no limit [0]",
       [](const std::string& text, Options* options) {
         ASSIGN_OR_RETURN(const int64_t value, ParseInteger(text, 0, 3'600'000));
         options->engine.max_inter_token_latency = std::chrono::milliseconds(value);
         return absl::OkStatus();
       }},
      {"policy-state", "FILE", "Keeps what auto learns from one run to the next",
       [](const std::string& text, Options* options) {
         options->engine.policy_state = text;
         return absl::OkStatus();
       }},
      {"draft-vocabulary", "N",
       "Drafts are chosen among the N most frequent tokens; 0: among all [0]",
       Integer([](Options* o) -> int& { return o->engine.draft_vocabulary_size; }, 0, kMany)},
      {"draft-token-counts", "FILE",
       "Lines of 'TOKEN_ID COUNT' that say which are frequent; absent: learnt",
       [](const std::string& text, Options* options) {
         options->engine.draft_token_counts = text;
         return absl::OkStatus();
       }},
      {"verification", "block|token",
       "How drafts of unseeded sampling are verified, all together or one by one [block]",
       SetVerification},
      {"draft-distribution-memory", "SIZE",
       "Memory for what a round's drafts of unseeded sampling were drawn from; where it is used up "
       "fewer are drafted [64MiB]",
       SetDraftDistributionMemory},
      {"accept-model-license", "ID", "Accepts the checkpoint's licence of this id",
       String(&Options::accepted_license)},
      {"drain-timeout", "TIME", "How long SIGTERM waits for running requests [30s]",
       Time([](Options* o) -> milliseconds& { return o->drain_timeout; })},
      {"watchdog-timeout", "TIME",
       "A round that takes longer, and longer than rounds do, is stuck; 0: never [60s]",
       Time([](Options* o) -> milliseconds& { return o->watchdog.timeout; })},
      {"watchdog-exit", "", "Ends the process, with exit code 3, when a round is stuck",
       Switch([](Options* o) -> bool& { return o->watchdog.exit; })},
      {"port-file", "FILE", "Written when ready: the addresses in use",
       String(&Options::port_file)},
      {"log-level", "debug|info|warn|error|off", "Least level logged to stderr [info]",
       SetLogLevel},
      {"log-format", "text|json", "Lines of the log for people, or for programs [text]",
       SetLogFormat},
  };
  for (const auto& more : {SharingTable(), AccessTable()}) {
    table.insert(table.end(), more.begin(), more.end());
  }
  return table;
}

}  // namespace

const std::vector<OptionSpec>& OptionTable() {
  static const std::vector<OptionSpec> table = MakeTable();
  return table;
}

}  // namespace strata::server
