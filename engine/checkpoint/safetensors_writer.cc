#include "engine/checkpoint/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "engine/status_macros.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace strata {
namespace {

using nlohmann::json;

constexpr size_t kDataAlignment = 64;

absl::Status SystemError(const std::string& path, const char* what) {
  return absl::InvalidArgumentError(
      fmt::format("{}: cannot be {}: {}", path, what, std::generic_category().message(errno)));
}

// Length and header, padded with spaces.
std::string HeaderBytes(const std::map<std::string, std::string>& metadata,
                        const std::vector<TensorToWrite>& tensors) {
  json header = {{"__metadata__", metadata}};
  int64_t begin = 0;
  for (const TensorToWrite& tensor : tensors) {
    const int64_t end = begin + tensor.size_bytes;
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    begin = end;
  }
  const std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  std::string bytes(8, '\0');
  bytes += text;
  bytes.resize((bytes.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment, ' ');
  const uint64_t length = bytes.size() - 8;
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
  return bytes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, const std::map<std::string, std::string>& metadata,
    const std::vector<TensorToWrite>& tensors) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError(path, "created");
  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter(path, fd));
  const std::string header = HeaderBytes(metadata, tensors);
  RETURN_IF_ERROR(writer->Append(std::as_bytes(std::span(header))));
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() { close(fd_); }

absl::Status SafetensorsWriter::Append(std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t count = write(fd_, data.data(), data.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError(path_, "written");
    data = data.subspan(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() {
  return fsync(fd_) == 0 ? absl::OkStatus() : SystemError(path_, "written");
}

}  // namespace strata
