// Writes a safetensors file tensor by tensor, so that none but the current one is in memory.

#ifndef STRATA_ENGINE_CHECKPOINT_SAFETENSORS_WRITER_H_
#define STRATA_ENGINE_CHECKPOINT_SAFETENSORS_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace strata {

struct TensorToWrite {
  std::string name;
  std::string dtype;  // as in SafetensorsEntry
  std::vector<int64_t> shape;
  int64_t size_bytes = 0;
};

class SafetensorsWriter {
 public:
  // Creates the file and writes its header: the data begin at a multiple of 64 and have the order
  // of `tensors`. Errors here and below (INVALID_ARGUMENT) name the file and what the system says.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      const std::string& path, const std::map<std::string, std::string>& metadata,
      const std::vector<TensorToWrite>& tensors);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The data of the next tensor, or of part of it.
  absl::Status Append(std::span<const std::byte> data);
  // Returns once the file is on the disk.
  absl::Status Finish();

 private:
  SafetensorsWriter(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  const std::string path_;
  const int fd_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_SAFETENSORS_WRITER_H_
