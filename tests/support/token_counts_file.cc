#include "tests/support/token_counts_file.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>

namespace strata {
namespace {

std::string Lines(const std::vector<TokenId>& ids) {
  std::map<TokenId, int> counts;
  for (const TokenId id : ids) ++counts[id];
  std::string lines;
  for (const auto& [id, count] : counts) {
    lines += std::to_string(id) + " " + std::to_string(count) + "\n";
  }
  return lines;
}

}  // namespace

TokenCountsFile::TokenCountsFile(std::string_view content)
    : path_(std::filesystem::temp_directory_path() / "strata_token_counts_XXXXXX") {
  const int file = mkstemp(path_.data());
  const auto size = static_cast<ssize_t>(content.size());
  if (file < 0 || write(file, content.data(), content.size()) != size || close(file) != 0) {
    std::perror("test set-up: token counts");
    std::abort();
  }
}

TokenCountsFile::TokenCountsFile(const std::vector<TokenId>& ids) : TokenCountsFile(Lines(ids)) {}

TokenCountsFile::~TokenCountsFile() { std::remove(path_.c_str()); }

}  // namespace strata
