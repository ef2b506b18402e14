#include "engine/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "fmt/format.h"

namespace strata {
namespace {

absl::Status SystemError(const std::string& path, int error) {
  const std::string reason = std::generic_category().message(error);
  if (error == ENOENT || error == ENOTDIR) {
    return absl::NotFoundError(fmt::format("{}: {}", path, reason));
  }
  return absl::InvalidArgumentError(fmt::format("{}: cannot be opened: {}", path, reason));
}

// Of the pages that hold any of the bytes. Only a wish, whose failure changes no result.
void Advise(const void* data, size_t size_bytes, int advice) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(data) + size_bytes;
  madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  // O_NONBLOCK: opening a pipe of that name must not wait for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return SystemError(path, errno);
  struct stat status;
  if (fstat(fd, &status) != 0) {
    const int error = errno;
    close(fd);
    return SystemError(path, error);
  }
  if (!S_ISREG(status.st_mode) || status.st_size == 0) {
    close(fd);
    return absl::InvalidArgumentError(
        fmt::format("{}: {}; download it again", path,
                    S_ISREG(status.st_mode) ? "the file is empty" : "not a regular file"));
  }
  const auto size = static_cast<size_t>(status.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  const int error = errno;
  close(fd);  // the map keeps the file
  if (data == MAP_FAILED) return SystemError(path, error);
  return std::unique_ptr<MappedFile>(new MappedFile(static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() { munmap(const_cast<std::byte*>(data_), size_); }

void PrefetchMappedPages(const void* data, size_t size_bytes) {
  Advise(data, size_bytes, MADV_WILLNEED);
}

void ReleaseMappedPages(const void* data, size_t size_bytes) {
  Advise(data, size_bytes, MADV_DONTNEED);
}

}  // namespace strata
