// What happens before and around serving: licence, port file, defaults, load reports.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "server/license_gate.h"
#include "server/orca_service.h"
#include "server/port_file.h"
#include "server/request_defaults.h"

namespace strata::server {
namespace {

using ::testing::HasSubstr;

TEST(LicenseGate, AsksForAcceptanceByName) {
  EXPECT_TRUE(CheckLicense({}, "").ok());
  EXPECT_TRUE(CheckLicense({}, "anything").ok());
  const CheckpointLicense license{"fair-noncommercial-research", "text"};
  EXPECT_TRUE(CheckLicense(license, "fair-noncommercial-research").ok());
  const absl::Status status = CheckLicense(license, "");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("--accept-model-license fair-noncommercial-research"));
  EXPECT_THAT(std::string(CheckLicense(license, "other").message()), HasSubstr("'other'"));
}

TEST(PortFile, AppearsComplete) {
  const std::string path = ::testing::TempDir() + "strata_ports";
  ASSERT_TRUE(WritePortFile(path, "127.0.0.1:1", "127.0.0.1:2").ok());
  std::stringstream content;
  content << std::ifstream(path).rdbuf();
  EXPECT_EQ(content.str(), "grpc 127.0.0.1:1\nmetrics 127.0.0.1:2\n");
  EXPECT_FALSE(std::ifstream(path + ".tmp").good());
  std::remove(path.c_str());
}

TEST(PortFile, SaysWhereItCannotWrite) {
  const absl::Status status = WritePortFile("no/such/folder/ports", "a:1", "");
  EXPECT_THAT(std::string(status.message()), HasSubstr("no/such/folder/ports"));
}

TEST(RequestDefaults, GenerationConfigComesBeforeFlags) {
  Options options;
  options.default_max_new_tokens = 77;
  GenerationDefaults generation;
  generation.temperature = 0.25f;
  generation.top_k = 9;
  const RequestDefaults defaults =
      MakeRequestDefaults(generation, options, Speculation{Speculation::Mode::kFixed, 4, 6, {}});
  EXPECT_EQ(defaults.sampling.temperature, 0.25f);
  EXPECT_EQ(defaults.sampling.top_k, 9);
  EXPECT_EQ(defaults.sampling.top_p, 1);
  EXPECT_EQ(defaults.max_new_tokens, 77);
  EXPECT_EQ(defaults.exit_layer, 4);
  EXPECT_EQ(defaults.num_draft_tokens, 6);
  generation.max_new_tokens = 5;
  EXPECT_EQ(MakeRequestDefaults(generation, options, {}).max_new_tokens, 5);
}

TEST(LoadReport, SaysHowFullTheServerIs) {
  EngineLoad load;
  load.running_requests = 4;
  load.queued_requests = 2;
  load.kv_blocks_total = 100;
  load.kv_blocks_used = 25;
  const auto report = MakeLoadReport(load, /*max_sequences=*/4);
  EXPECT_EQ(report.application_utilization(), 1.5);
  EXPECT_EQ(report.mem_utilization(), 0.25);
  EXPECT_EQ(report.named_metrics().at("queued_requests"), 2);
}

}  // namespace
}  // namespace strata::server
