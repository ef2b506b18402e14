// Reader of the safetensors format (https://github.com/huggingface/safetensors):
// a little-endian 64-bit header length N, N bytes of JSON, then the tensors' data.

#ifndef STRATA_ENGINE_CHECKPOINT_SAFETENSORS_H_
#define STRATA_ENGINE_CHECKPOINT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/mapped_file.h"

namespace strata {

struct SafetensorsEntry {
  std::string dtype;  // as the header writes it: "F32", "F16", "BF16", "I64", ...
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;  // in the file's map; any alignment
  uint64_t size_bytes = 0;
};

// Immutable after Open; safe to read from several threads.
class SafetensorsFile {
 public:
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
  static constexpr size_t kMaxRank = 8;

  // Maps the file and checks its header, whether or not a tensor is needed: the
  // data ranges lie in the file, fill it without overlap or gap (the format
  // demands it, and it is how a damaged file shows), and are as large as type
  // and shape say (for types that we know the size of).
  // Errors: NOT_FOUND; INVALID_ARGUMENT naming the file and the tensor, and ending with `remedy`.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(
      const std::string& path, std::string_view remedy = "download it again");

  const std::string& path() const { return path_; }
  // The strings of __metadata__.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Where the entry's data begin in the file.
  int64_t OffsetOf(const SafetensorsEntry& entry) const { return entry.data - map_->data(); }
  // Null if there is no tensor of that name.
  const SafetensorsEntry* Find(std::string_view name) const;

 private:
  SafetensorsFile() = default;

  std::string path_;
  std::unique_ptr<MappedFile> map_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, SafetensorsEntry, std::less<>> entries_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_SAFETENSORS_H_
