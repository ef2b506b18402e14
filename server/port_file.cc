#include "server/port_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace strata::server {

absl::Status WritePortFile(const std::string& path, const std::string& grpc_address,
                           const std::string& metrics_address) {
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::trunc);
  file << "grpc " << grpc_address << "\n";
  if (!metrics_address.empty()) file << "metrics " << metrics_address << "\n";
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string reason = std::strerror(errno);
    std::remove(temporary.c_str());
    return absl::InvalidArgumentError(
        fmt::format("--port-file: cannot write {}: {}", path, reason));
  }
  return absl::OkStatus();
}

}  // namespace strata::server
