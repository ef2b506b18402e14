// Notices that a file is another than before, by looking.

#ifndef STRATA_SERVER_FILE_WATCH_H_
#define STRATA_SERVER_FILE_WATCH_H_

#include <sys/stat.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace strata::server {

// Follows symbolic links, whose targets are what changes where files are mounted by Kubernetes.
class FileWatch {
 public:
  explicit FileWatch(std::vector<std::string> paths) : paths_(std::move(paths)) { Changed(); }

  // Whether any file is new, gone or changed since the last call.
  bool Changed() {
    std::vector<State> now;
    for (const std::string& path : paths_) now.push_back(Look(path));
    const bool changed = now != states_;
    states_ = std::move(now);
    return changed;
  }

 private:
  // Device, inode, size, and times of modification and of any change.
  using State = std::tuple<dev_t, ino_t, off_t, time_t, long, time_t, long>;  // NOLINT: as in stat

  static State Look(const std::string& path) {
    struct stat file {};
    if (stat(path.c_str(), &file) != 0) return {};
    return {file.st_dev,          file.st_ino,         file.st_size,        file.st_mtim.tv_sec,
            file.st_mtim.tv_nsec, file.st_ctim.tv_sec, file.st_ctim.tv_nsec};
  }

  const std::vector<std::string> paths_;
  std::vector<State> states_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_FILE_WATCH_H_
