// A folder that lasts as long as the test that needs it.

#ifndef STRATA_TESTS_ENGINE_CHECKPOINT_TEMPORARY_FOLDER_H_
#define STRATA_TESTS_ENGINE_CHECKPOINT_TEMPORARY_FOLDER_H_

#include <string>
#include <string_view>

namespace strata {

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();  // removes it and all that is in it
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Aborts the test program where they fail.
void WriteFile(const std::string& path, std::string_view content);
std::string ReadFile(const std::string& path);

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_CHECKPOINT_TEMPORARY_FOLDER_H_
