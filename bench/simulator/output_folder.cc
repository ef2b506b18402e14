#include "bench/simulator/output_folder.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <system_error>

namespace strata::sim {

absl::Status WriteOutput(const std::string& folder, const std::string& name,
                         const std::string& content) {
  if (folder.empty()) return absl::OkStatus();
  std::error_code ignored;  // writing fails below, with the path
  std::filesystem::create_directories(folder, ignored);
  const std::string path = (std::filesystem::path(folder) / name).string();
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  if (!file) return absl::PermissionDeniedError(fmt::format("{}: cannot be written", path));
  return absl::OkStatus();
}

}  // namespace strata::sim
