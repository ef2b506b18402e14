#include "server/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "server/option_table.h"

namespace strata::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class OptionsTest : public ::testing::Test {
 protected:
  // --model is given unless `args` are all there should be.
  absl::StatusOr<CommandLine> Parse(std::vector<std::string> args) {
    args.insert(args.begin(), {"--model", "folder"});
    return ParseOptions(args, [this](const std::string& name) -> const char* {
      const auto it = environment_.find(name);
      return it == environment_.end() ? nullptr : it->second.c_str();
    });
  }

  // Of a command line that must be fine.
  Options Get(const std::vector<std::string>& args) {
    const auto result = Parse(args);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->options : Options{};
  }

  std::string Error(const std::vector<std::string>& args) {
    const auto result = Parse(args);
    EXPECT_FALSE(result.ok());
    return std::string(result.status().message());
  }

  // A file with `content`, in the test's own folder.
  static std::string File(const std::string& content) {
    const std::string path = ::testing::TempDir() + "strata_options_test.toml";
    std::ofstream(path) << content;
    return path;
  }

  std::map<std::string, std::string> environment_;
};

TEST_F(OptionsTest, DefaultsAreLoopbackAndAuto) {
  const Options options = Get({});
  EXPECT_EQ(options.model, "folder");
  EXPECT_EQ(options.listen.ToString(), "127.0.0.1:50051");
  EXPECT_EQ(options.speculation, Speculation::Mode::kAuto);
  EXPECT_FALSE(options.weights.has_value());
}

TEST_F(OptionsTest, ReadsEveryFlag) {
  const Options options = Get({"--listen",
                               "0.0.0.0:1",
                               "--metrics-listen",
                               "[::]:2",
                               "--device",
                               "cpu",
                               "--deterministic",
                               "off",
                               "--dtype",
                               "f32",
                               "--threads",
                               "3",
                               "--pin-threads",
                               "on",
                               "--tensor-parallel",
                               "2",
                               "--rank-timeout",
                               "9s",
                               "--kv-cache-memory",
                               "5MiB",
                               "--max-batch-tokens",
                               "6",
                               "--max-sequences",
                               "7",
                               "--max-queue",
                               "8",
                               "--max-queue-time",
                               "800ms",
                               "--max-context",
                               "9",
                               "--max-calls",
                               "10",
                               "--max-message-size",
                               "11KiB",
                               "--stream-interval",
                               "25ms",
                               "--default-max-new-tokens",
                               "12",
                               "--speculation",
                               "fixed",
                               "--exit-layer",
                               "13",
                               "--num-draft-tokens",
                               "14",
                               "--draft-vocabulary",
                               "16",
                               "--draft-token-counts",
                               "counts",
                               "--verification",
                               "token",
                               "--draft-distribution-memory",
                               "17MiB",
                               "--accept-model-license",
                               "some-id",
                               "--drain-timeout",
                               "15s",
                               "--port-file",
                               "ports",
                               "--log-level",
                               "debug",
                               "--tls-cert",
                               "cert",
                               "--tls-key",
                               "key",
                               "--tls-client-ca",
                               "ca",
                               "--credentials",
                               "who",
                               "--open-methods",
                               "a.B, c.D/E,",
                               "--reflection",
                               "on",
                               "--control",
                               "off",
                               "--allow-insecure-listen",
                               "--max-streams",
                               "17",
                               "--keepalive",
                               "18s",
                               "--handshake-timeout",
                               "19s",
                               "--audit-log",
                               "audit",
                               "--log-prompts",
                               "--watchdog-timeout",
                               "20s",
                               "--watchdog-exit"});
  EXPECT_EQ(options.listen.port, 1);
  EXPECT_EQ(options.metrics_listen->ToString(), "[::]:2");
  EXPECT_EQ(options.weights, kernels::WeightFormat::kF32);
  EXPECT_FALSE(options.deterministic);
  EXPECT_EQ(options.threads, 3);
  EXPECT_TRUE(options.pin_threads);
  EXPECT_EQ(options.tensor_parallel, 2);
  EXPECT_EQ(options.engine.rank_timeout, std::chrono::seconds(9));
  EXPECT_EQ(options.engine.kv_cache_bytes, 5 << 20);
  EXPECT_EQ(options.engine.max_batch_tokens, 6);
  EXPECT_EQ(options.engine.max_sequences, 7);
  EXPECT_EQ(options.engine.max_queue, 8);
  EXPECT_EQ(options.engine.max_queue_time, std::chrono::milliseconds(800));
  EXPECT_EQ(options.stream_interval, std::chrono::milliseconds(25));
  EXPECT_EQ(options.engine.max_context, 9);
  EXPECT_EQ(options.max_calls, 10);
  EXPECT_EQ(options.connection.max_message_bytes, 11 << 10);
  EXPECT_EQ(options.default_max_new_tokens, 12);
  EXPECT_EQ(options.speculation, Speculation::Mode::kFixed);
  EXPECT_EQ(options.engine.default_exit_layer, 13);
  EXPECT_EQ(options.engine.default_num_draft_tokens, 14);
  EXPECT_EQ(options.engine.draft_vocabulary_size, 16);
  EXPECT_EQ(options.engine.draft_token_counts, "counts");
  EXPECT_EQ(options.engine.verification, Verification::kToken);
  EXPECT_EQ(options.engine.draft_distribution_bytes, 17 << 20);
  EXPECT_EQ(options.accepted_license, "some-id");
  EXPECT_EQ(options.drain_timeout.count(), 15'000);
  EXPECT_EQ(options.port_file, "ports");
  EXPECT_EQ(options.log_level, "debug");
  EXPECT_EQ(options.access.tls_cert, "cert");
  EXPECT_EQ(options.access.tls_key, "key");
  EXPECT_EQ(options.access.tls_client_ca, "ca");
  EXPECT_EQ(options.access.credentials, "who");
  EXPECT_THAT(options.access.open_methods, ElementsAre("a.B", "c.D/E"));
  EXPECT_EQ(options.access.reflection, true);
  EXPECT_FALSE(options.access.control);
  EXPECT_TRUE(options.access.allow_insecure_listen);
  EXPECT_EQ(options.connection.max_streams, 17);
  EXPECT_EQ(options.connection.keepalive.count(), 18'000);
  EXPECT_EQ(options.connection.handshake_timeout.count(), 19'000);
  EXPECT_EQ(options.audit_log, "audit");
  EXPECT_TRUE(options.log_prompts);
  EXPECT_EQ(options.watchdog.timeout.count(), 20'000);
  EXPECT_TRUE(options.watchdog.exit);
}

TEST_F(OptionsTest, SwitchesMayBeBareOrSaidEverywhere) {
  EXPECT_FALSE(Get({}).log_prompts);
  EXPECT_TRUE(Get({"--log-prompts", "--max-queue", "1"}).log_prompts);
  EXPECT_FALSE(Get({"--log-prompts", "off"}).log_prompts);
  environment_ = {{"STRATA_LOG_PROMPTS", "yes"}};
  EXPECT_TRUE(Get({}).log_prompts);
  EXPECT_FALSE(Get({"--log-prompts=false"}).log_prompts);
  environment_.clear();
  EXPECT_TRUE(Get({"--config", File("log-prompts = true\n")}).log_prompts);
  EXPECT_THAT(Error({"--log-prompts", "maybe"}), StartsWith("--log-prompts: 'maybe'"));
}

TEST_F(OptionsTest, ListensBeyondThisMachineOnlyWithTlsOrIfTold) {
  const std::vector<std::string> tls = {"--tls-cert", "c", "--tls-key", "k"};
  const std::vector<std::string> told = {"--allow-insecure-listen"};
  const auto with = [](std::vector<std::string> args, const std::vector<std::string>& more) {
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  for (const char* address : {"0.0.0.0:1", "[::]:1", "192.0.2.1:1", "lab.example:1", "128.0.0.1:1",
                              "127.0.0.1.example:1"}) {
    const std::vector<std::string> listen = {"--listen", address};
    EXPECT_THAT(Error(listen), StartsWith("--listen: ")) << address;
    EXPECT_THAT(Error(listen), HasSubstr("--allow-insecure-listen"));
    Get(with(listen, tls));
    Get(with(listen, told));
    const std::vector<std::string> metrics = {"--metrics-listen", address};
    EXPECT_THAT(Error(metrics), StartsWith("--metrics-listen: ")) << address;
    EXPECT_THAT(Error(with(metrics, tls)), StartsWith("--metrics-listen: ")) << address;
    Get(with(metrics, told));
  }
  for (const char* address : {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"}) {
    Get({"--listen", address, "--metrics-listen", address});
  }
}

TEST_F(OptionsTest, RefusesHalfOfTls) {
  EXPECT_THAT(Error({"--tls-cert", "c"}), HasSubstr("--tls-key"));
  EXPECT_THAT(Error({"--tls-key", "k"}), HasSubstr("--tls-cert"));
  EXPECT_THAT(Error({"--tls-client-ca", "a"}), HasSubstr("--tls-cert"));
}

TEST_F(OptionsTest, VerificationIsOneOfTwo) {
  EXPECT_EQ(Get({}).engine.verification, Verification::kBlock);
  EXPECT_THAT(Error({"--verification", "both"}), HasSubstr("'both' is not one of block, token"));
}

TEST_F(OptionsTest, ReadsHowTheServerIsShared) {
  const Options options =
      Get({"--max-prefill-chunk", "1", "--prefix-cache", "off", "--max-tokens-per-minute", "2",
           "--tenant-metadata-key", "x-lab", "--tenant-max-running", "3", "--tenant-max-queue", "4",
           "--tenant-max-tokens-per-minute", "5", "--tenant-isolated-prefixes", "on"});
  EXPECT_EQ(options.engine.max_prefill_chunk, 1);
  EXPECT_FALSE(options.engine.prefix_cache);
  EXPECT_EQ(options.engine.max_tokens_per_minute, 2);
  EXPECT_EQ(options.tenancy.metadata_key, "x-lab");
  EXPECT_EQ(options.tenancy.defaults.max_running, 3);
  EXPECT_EQ(options.tenancy.defaults.max_queued, 4);
  EXPECT_EQ(options.tenancy.defaults.max_tokens_per_minute, 5);
  EXPECT_TRUE(options.tenancy.defaults.isolates_prefixes);
  EXPECT_TRUE(Get({}).engine.prefix_cache);
  EXPECT_THAT(Error({"--prefix-cache", "maybe"}), HasSubstr("'maybe' is neither on nor off"));
  EXPECT_THAT(Error({"--tenant-metadata-key", "X-Lab"}), HasSubstr("lower-case"));
}

TEST_F(OptionsTest, FlagsWinOverEnvironmentOverFile) {
  const std::string file =
      File("max-queue = 1\nmax-sequences = 1\nthreads = 1\nkv-cache-memory = \"1MiB\"\n");
  environment_ = {{"STRATA_CONFIG", file}, {"STRATA_MAX_QUEUE", "2"}, {"STRATA_THREADS", "2"}};
  const Options options = Get({"--threads", "3"});
  EXPECT_EQ(options.engine.max_sequences, 1);
  EXPECT_EQ(options.engine.max_queue, 2);
  EXPECT_EQ(options.threads, 3);
  EXPECT_EQ(options.engine.kv_cache_bytes, 1 << 20);
}

TEST_F(OptionsTest, ErrorsNameTheirSource) {
  EXPECT_THAT(Error({"--threads", "x"}), StartsWith("--threads: 'x'"));
  environment_ = {{"STRATA_THREADS", "y"}};
  EXPECT_THAT(Error({}), StartsWith("STRATA_THREADS: 'y'"));
  environment_.clear();
  const std::string file = File("threads = \"z\"\n");
  EXPECT_THAT(Error({"--config", file}), StartsWith(file + ": threads: 'z'"));
}

TEST_F(OptionsTest, RefusesFilesItDoesNotUnderstand) {
  EXPECT_THAT(Error({"--config", File("thread = 1\n")}), HasSubstr("thread: no such option"));
  EXPECT_THAT(Error({"--config", File("threads = [1]\n")}),
              HasSubstr("must be a string, a whole number, true or false"));
  EXPECT_THAT(Error({"--config", File("threads =\n")}), HasSubstr(".toml:1:"));
  EXPECT_THAT(Error({"--config", "no/such/file"}), HasSubstr("no/such/file"));
}

TEST_F(OptionsTest, SaysWhatThisBuildLacks) {
  if (kernels::HasCudaBackend()) {
    EXPECT_EQ(Get({"--device", "cuda"}).device, DeviceKind::kCuda);
  } else {
    EXPECT_THAT(Error({"--device", "cuda"}), HasSubstr("no CUDA backend"));
  }
  EXPECT_THAT(Error({"--tensor-parallel", "0"}), HasSubstr("--tensor-parallel"));
  EXPECT_THAT(Error({"--tensor-parallel", "65"}), HasSubstr("--tensor-parallel"));
  EXPECT_THAT(Error({"--rank-timeout", "soon"}), HasSubstr("--rank-timeout"));
  EXPECT_THAT(Error({"--device", "tpu"}), HasSubstr("not one of cpu, cuda"));
}

TEST_F(OptionsTest, RefusesUnknownFlagsAndMissingModel) {
  EXPECT_THAT(Error({"--no-such-flag"}), HasSubstr("--no-such-flag"));
  const auto result = ParseOptions({}, [](const std::string&) { return nullptr; });
  EXPECT_THAT(std::string(result.status().message()), StartsWith("--model: required"));
}

TEST_F(OptionsTest, MetricsCanBeTurnedOff) {
  EXPECT_FALSE(Get({"--metrics-listen", "none"}).metrics_listen.has_value());
}

TEST_F(OptionsTest, HelpNamesEveryOption) {
  const auto result = Parse({"--help"});
  ASSERT_TRUE(result.ok() && result->message);
  for (const OptionSpec& spec : OptionTable()) {
    EXPECT_THAT(*result->message, HasSubstr("--" + spec.name));
  }
}

}  // namespace
}  // namespace strata::server
