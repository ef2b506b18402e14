// Lines to a file, a pipe or a terminal, by a thread of its own: whoever has something to say never
// waits for a disk or a reader.

#ifndef STRATA_SERVER_LINE_WRITER_H_
#define STRATA_SERVER_LINE_WRITER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/clock.h"

namespace strata::server {

// Thread-safe.
class LineWriter {
 public:
  static constexpr size_t kMaxWaitingLines = 10'000;

  // On the writer's thread, or on one that appends.
  struct Listener {
    // A line is lost, the `num_lost`-th in a row: the file takes none, or takes them too slowly.
    std::function<void(int64_t num_lost, const std::string& reason)> on_lost;
    // Lines are written again, after so many were lost.
    std::function<void(int64_t num_lost)> on_recovered;
  };

  // Takes `fd` over, to close it.
  LineWriter(int fd, Listener listener);
  // Writes what waits, but gives up on a reader that takes nothing for a second.
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // `line`: without its end.
  void Append(std::string line);
  // Writes to `fd` instead, from the next line on.
  void SetFile(int fd);
  // Waits until what has been appended is written or lost; for a second at most.
  void Flush();

 private:
  void Run();
  // Takes the lines that wait; false: there are none and will be none.
  bool Take(std::deque<std::string>* lines);
  void Write(const std::string& line);
  void ChangeFile();
  // All of it, or as much as the file takes; empty if all, else why not.
  std::string WriteBytes(const std::string& bytes, size_t* num_written);
  bool WaitUntilWritable();
  // On a reader that takes nothing: there is another file, or the end has come.
  bool GivesUp();
  void OnLost(const std::string& reason);

  const Listener listener_;

  std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  std::deque<std::string> waiting_;
  bool writing_ = false;
  std::optional<Instant> gives_up_at_;  // present: the end has come
  std::optional<int> next_fd_;
  int64_t num_lost_ = 0;  // that have not been told as recovered from

  // The writer's thread's own.
  int fd_;
  bool torn_ = false;  // the last line was cut short

  std::thread thread_;  // last: uses all of the above
};

}  // namespace strata::server

#endif  // STRATA_SERVER_LINE_WRITER_H_
