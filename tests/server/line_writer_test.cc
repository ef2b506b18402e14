// Lines on their way to files and readers of every kind: none that is broken, full or slow makes
// anybody wait.

#include "server/line_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string>
#include <thread>

namespace strata::server {
namespace {

using ::testing::HasSubstr;

class LineWriterTest : public ::testing::Test {
 protected:
  LineWriterTest() { signal(SIGPIPE, SIG_IGN); }

  LineWriter::Listener Count() {
    return {[this](int64_t, const std::string& reason) {
              std::lock_guard lock(mu_);
              reason_ = reason;
              ++num_lost_;
            },
            [this](int64_t num_lost) { num_recovered_ += num_lost; }};
  }
  std::string reason() {
    std::lock_guard lock(mu_);
    return reason_;
  }

  static void Open(int ends[2]) { ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0); }

  // Until nobody writes any more.
  static std::string ReadAll(int fd) {
    std::string all;
    char buffer[4096];
    for (ssize_t n = 0; (n = read(fd, buffer, sizeof(buffer))) > 0;) all.append(buffer, n);
    close(fd);
    return all;
  }

  std::mutex mu_;
  std::string reason_;
  std::atomic<int64_t> num_lost_ = 0;
  std::atomic<int64_t> num_recovered_ = 0;  // of those lost
};

TEST_F(LineWriterTest, WritesLinesInOrderThroughAPipe) {
  int ends[2];
  Open(ends);
  std::string expected;
  std::string actual;
  std::jthread reader([&] { actual = ReadAll(ends[0]); });
  {
    LineWriter writer(ends[1], Count());
    for (int i = 0; i < 1000; ++i) {
      // Some are longer than what a pipe takes at once.
      const std::string line = std::to_string(i) + std::string(i % 50 == 0 ? 100'000 : 10, 'x');
      writer.Append(line);
      expected += line + "\n";
    }
  }
  reader.join();
  EXPECT_EQ(num_lost_, 0);
  EXPECT_EQ(actual, expected);
}

TEST_F(LineWriterTest, AReaderThatNeverReadsHoldsUpNobodyAndNotTheEnd) {
  int ends[2];
  Open(ends);
  constexpr int64_t kLines = 3 * LineWriter::kMaxWaitingLines;
  const std::string line(100, 'x');
  {
    LineWriter writer(ends[1], Count());
    for (int64_t i = 0; i < kLines; ++i) writer.Append(line);
    writer.Flush();
    EXPECT_THAT(reason(), HasSubstr("faster"));
  }  // would hang here
  const auto num_written = static_cast<int64_t>(ReadAll(ends[0]).size() / (line.size() + 1));
  EXPECT_GT(num_written, 0);
  EXPECT_EQ(num_written + num_lost_, kLines);  // those that are not there have been counted
}

TEST_F(LineWriterTest, AReaderThatComesBackGetsWholeLinesAgain) {
  int ends[2];
  Open(ends);
  const std::string line(100, 'x');
  std::string all;
  std::jthread reader;
  {
    LineWriter writer(ends[1], Count());
    for (size_t i = 0; i < 2 * LineWriter::kMaxWaitingLines; ++i) writer.Append(line);
    reader = std::jthread([&] { all = ReadAll(ends[0]); });
    // It may have got on for a moment before, and lost more lines after that.
    while (num_recovered_ < num_lost_) std::this_thread::yield();
    writer.Append("last");
  }
  reader.join();
  EXPECT_EQ(num_recovered_, num_lost_);
  const size_t num_written = 2 * LineWriter::kMaxWaitingLines - num_lost_;
  EXPECT_EQ(all.size(), num_written * (line.size() + 1) + 5);
  EXPECT_TRUE(all.ends_with(line + "\nlast\n"));
}

TEST_F(LineWriterTest, AReaderThatIsGoneIsNoSignalToEnd) {
  int ends[2];
  Open(ends);
  close(ends[0]);
  {
    LineWriter writer(ends[1], Count());
    writer.Append("line");
  }
  EXPECT_EQ(num_lost_, 1);
  EXPECT_EQ(reason(), "Broken pipe");
}

TEST_F(LineWriterTest, AFullDiskLosesLinesAndSaysSo) {
  {
    LineWriter writer(open("/dev/full", O_WRONLY | O_CLOEXEC), Count());
    for (int i = 0; i < 3; ++i) writer.Append("line");
  }
  EXPECT_EQ(num_lost_, 3);
  EXPECT_EQ(reason(), "No space left on device");
}

TEST_F(LineWriterTest, GoesOnWithAnotherFile) {
  int ends[2];
  Open(ends);
  {
    LineWriter writer(open("/dev/full", O_WRONLY | O_CLOEXEC), Count());
    writer.Append("lost");
    writer.Flush();
    EXPECT_EQ(num_lost_, 1);
    writer.SetFile(open("/dev/full", O_WRONLY | O_CLOEXEC));  // never used
    writer.SetFile(ends[1]);
    writer.Append("kept");
  }
  EXPECT_EQ(ReadAll(ends[0]), "kept\n");
  EXPECT_EQ(num_recovered_, 1);
}

}  // namespace
}  // namespace strata::server
