// A file of a test, gone with it.

#ifndef STRATA_TESTS_LOADTEST_TEMPORARY_FILE_H_
#define STRATA_TESTS_LOADTEST_TEMPORARY_FILE_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace strata::loadtest {

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    static int number = 0;
    path_ = testing::TempDir() + "strata-loadtest-" + std::to_string(getpid()) + "-" +
            std::to_string(number++);
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace strata::loadtest

#endif  // STRATA_TESTS_LOADTEST_TEMPORARY_FILE_H_
