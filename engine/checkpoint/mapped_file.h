// A file mapped read-only into memory.

#ifndef STRATA_ENGINE_CHECKPOINT_MAPPED_FILE_H_
#define STRATA_ENGINE_CHECKPOINT_MAPPED_FILE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace strata {

// Immutable; the map lasts as long as this object. Shrinking the file meanwhile
// makes reads fault (SIGBUS): checkpoints must be replaced, not overwritten.
class MappedFile {
 public:
  // NOT_FOUND, or INVALID_ARGUMENT for an empty file or what is no regular file.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}

  const std::byte* data_;
  size_t size_;
};

// Asks the system to bring pages of a map from the disk, all at once, ahead of their reading.
void PrefetchMappedPages(const void* data, size_t size_bytes);
// Lets go of the memory that the pages of a map hold for this process. They stay readable: they
// come back from the system's cache, or from the disk.
void ReleaseMappedPages(const void* data, size_t size_bytes);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_MAPPED_FILE_H_
