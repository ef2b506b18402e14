#include "server/audit_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace strata::server {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class AuditLogTest : public ::testing::Test {
 protected:
  AuditLogTest() { fs::remove(path_); }
  ~AuditLogTest() override { fs::remove(path_); }

  static std::string Content(const std::string& path) {
    std::stringstream content;
    content << std::ifstream(path).rdbuf();
    return content.str();
  }
  int NumLost() {
    const std::string text = prometheus::TextSerializer().Serialize(metrics_.registry()->Collect());
    const std::string name = "\nstrata_audit_lines_lost_total ";
    return std::stoi(text.substr(text.find(name) + name.size()));
  }

  const std::string path_ =
      ::testing::TempDir() + "strata_audit_" + std::to_string(getpid()) + ".jsonl";
  ServerMetrics metrics_;
};

TEST_F(AuditLogTest, RecordsAreLinesOfJson) {
  AuditRecord record;
  record.time =
      std::chrono::system_clock::from_time_t(1'800'000'000) + std::chrono::milliseconds(7);
  record.request_id = "line\nbreak \xff";
  record.method = "Generate";
  record.tenant = "lab";
  record.code = "OK";
  record.prompt_tokens = 3;
  record.generated_tokens = int64_t{1} << 40;
  record.license = "fair-noncommercial-research";
  record.accepted_by = "tenant";
  const std::string line = ToJson(record);
  EXPECT_EQ(line.find('\n'), line.npos);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["time"], "2027-01-15T08:00:00.007Z");
  EXPECT_EQ(json["request_id"], "line\nbreak \xef\xbf\xbd");
  EXPECT_EQ(json["tenant"], "lab");
  EXPECT_EQ(json["prompt_tokens"], 3);
  EXPECT_EQ(json["generated_tokens"], int64_t{1} << 40);
  EXPECT_EQ(json["license"], "fair-noncommercial-research");
  EXPECT_EQ(json["accepted_by"], "tenant");
}

TEST_F(AuditLogTest, OnlyGrows) {
  for (const char* line : {"one", "two"}) {
    auto log = AuditLog::Open(path_, &metrics_);
    ASSERT_TRUE(log.ok()) << log.status();
    (*log)->Append(line);
  }
  EXPECT_EQ(Content(path_), "one\ntwo\n");
  struct stat file {};
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0007, 0u);  // others may not read who used what
}

TEST_F(AuditLogTest, KeepsEveryLineWholeFromManyThreads) {
  {
    auto log = AuditLog::Open(path_, &metrics_).value();
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&log] {
        for (int i = 0; i < 500; ++i) log->Append(std::string(100, 'x'));
      });
    }
  }
  std::string expected;
  for (int i = 0; i < 2000; ++i) expected += std::string(100, 'x') + "\n";
  EXPECT_EQ(Content(path_), expected);
}

TEST_F(AuditLogTest, AFullDiskIsCountedAndStopsNobody) {
  {
    auto log = AuditLog::Open("/dev/full", &metrics_).value();
    for (int i = 0; i < 3; ++i) log->Append("line");
  }
  EXPECT_EQ(NumLost(), 3);
}

TEST_F(AuditLogTest, MayBeMovedAway) {
  const std::string old = path_ + ".1";
  {
    auto log = AuditLog::Open(path_, &metrics_).value();
    log->Append("one");
    while (Content(path_).empty()) std::this_thread::yield();
    fs::rename(path_, old);
    EXPECT_TRUE(log->Reopen().ok());
    log->Append("two");
  }
  EXPECT_EQ(Content(old), "one\n");
  EXPECT_EQ(Content(path_), "two\n");
  fs::remove(old);
}

TEST_F(AuditLogTest, SaysWhatItCannotOpen) {
  const auto log = AuditLog::Open("no/such/folder/audit", &metrics_);
  EXPECT_THAT(std::string(log.status().message()),
              HasSubstr("--audit-log: cannot open no/such/folder/audit"));
}

}  // namespace
}  // namespace strata::server
