// Bytes as a file, for readers that open one by its name.

#ifndef STRATA_TESTS_FUZZ_FUZZ_FILE_H_
#define STRATA_TESTS_FUZZ_FUZZ_FILE_H_

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace strata {

// A folder of this process's own, gone when it ends.
class FuzzFolder {
 public:
  FuzzFolder()
      : path_(std::filesystem::temp_directory_path() /
              ("strata_fuzz_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~FuzzFolder() { std::filesystem::remove_all(path_); }

  std::string path() const { return path_.string(); }

  // Writes the file `name`; returns its path.
  std::string Write(const std::string& name, const uint8_t* data, size_t size) const {
    const std::string path = (path_ / name).string();
    const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != static_cast<ssize_t>(size)) std::abort();
    close(fd);
    return path;
  }

 private:
  const std::filesystem::path path_;
};

}  // namespace strata

#endif  // STRATA_TESTS_FUZZ_FUZZ_FILE_H_
