#include "server/line_writer.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <utility>

namespace strata::server {
namespace {

constexpr std::chrono::milliseconds kPatience{1000};
constexpr int kLookIntervalMs = 50;

bool IsRegularFile(int fd) {
  struct stat state {};
  return fstat(fd, &state) == 0 && S_ISREG(state.st_mode);
}

}  // namespace

LineWriter::LineWriter(int fd, Listener listener)
    : listener_(std::move(listener)), fd_(fd), thread_([this] { Run(); }) {}

LineWriter::~LineWriter() {
  {
    std::lock_guard lock(mu_);
    gives_up_at_ = std::chrono::steady_clock::now() + kPatience;
    changed_.notify_all();
  }
  thread_.join();
  if (next_fd_) close(*next_fd_);
  close(fd_);
}

void LineWriter::Append(std::string line) {
  {
    std::lock_guard lock(mu_);
    if (waiting_.size() < kMaxWaitingLines) {
      waiting_.push_back(std::move(line));
      changed_.notify_all();
      return;
    }
  }
  OnLost("lines come faster than they can be written");
}

void LineWriter::SetFile(int fd) {
  std::lock_guard lock(mu_);
  if (const auto unused = std::exchange(next_fd_, fd)) close(*unused);
}

void LineWriter::Flush() {
  std::unique_lock lock(mu_);
  changed_.wait_for(lock, kPatience, [this] { return waiting_.empty() && !writing_; });
}

bool LineWriter::Take(std::deque<std::string>* lines) {
  std::unique_lock lock(mu_);
  writing_ = false;
  changed_.notify_all();
  changed_.wait(lock, [this] { return gives_up_at_ || !waiting_.empty(); });
  lines->clear();
  lines->swap(waiting_);
  writing_ = !lines->empty();
  return writing_;
}

void LineWriter::Run() {
  std::deque<std::string> lines;
  while (Take(&lines)) {
    for (const std::string& line : lines) Write(line);
  }
}

void LineWriter::Write(const std::string& line) {
  ChangeFile();
  size_t num_written = 0;
  const std::string reason = WriteBytes((torn_ ? "\n" : "") + line + "\n", &num_written);
  torn_ = !reason.empty() && (torn_ || num_written > 0);
  if (!reason.empty()) return OnLost(reason);
  int64_t num_lost = 0;
  {
    std::lock_guard lock(mu_);
    // Not before there is room again, or it would be said between any two lines.
    if (waiting_.size() < kMaxWaitingLines / 2) num_lost = std::exchange(num_lost_, 0);
  }
  if (num_lost > 0) listener_.on_recovered(num_lost);
}

void LineWriter::ChangeFile() {
  std::lock_guard lock(mu_);
  if (!next_fd_) return;
  close(std::exchange(fd_, *std::exchange(next_fd_, std::nullopt)));
  torn_ = false;
}

std::string LineWriter::WriteBytes(const std::string& bytes, size_t* num_written) {
  // In one piece, so that readers and other writers see whole lines; but where a reader may be
  // slow, no more than fits after WaitUntilWritable without waiting.
  const size_t at_once = IsRegularFile(fd_) ? bytes.size() : PIPE_BUF;
  while (*num_written < bytes.size()) {
    if (!WaitUntilWritable()) return "nobody reads";
    const ssize_t count =
        write(fd_, bytes.data() + *num_written, std::min(at_once, bytes.size() - *num_written));
    if (count > 0) {
      *num_written += count;
    } else if (count == 0 || (errno != EINTR && errno != EAGAIN)) {
      return count == 0 ? "the disk is full" : std::strerror(errno);
    }
  }
  return "";
}

bool LineWriter::WaitUntilWritable() {
  while (true) {
    const bool gives_up = GivesUp();
    pollfd wanted{fd_, POLLOUT, 0};
    // Errors, too, make it ready: write tells them.
    if (poll(&wanted, 1, gives_up ? 0 : kLookIntervalMs) > 0) return true;
    if (gives_up) return false;
  }
}

bool LineWriter::GivesUp() {
  std::lock_guard lock(mu_);
  return next_fd_ || (gives_up_at_ && std::chrono::steady_clock::now() >= *gives_up_at_);
}

void LineWriter::OnLost(const std::string& reason) {
  int64_t num_lost = 0;
  {
    std::lock_guard lock(mu_);
    num_lost = ++num_lost_;
  }
  listener_.on_lost(num_lost, reason);
}

}  // namespace strata::server
