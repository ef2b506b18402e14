// The real strata-server binary with a real tokenizer.model: what it prints,
// how it ends. (Sentencepiece and gRPC in one process is what once crashed.)

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "strata/v1/inference.grpc.pb.h"

namespace strata::server {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Content(const fs::path& path) {
  std::stringstream content;
  content << std::ifstream(path).rdbuf();
  return content.str();
}

// One run of the binary, its output in files.
class Process {
 public:
  explicit Process(std::vector<std::string> args) {
    folder_ =
        fs::path(::testing::TempDir()) / (fmt::format("strata_process_{}_{}", getpid(), ++count_));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    args.insert(args.begin(), STRATA_SERVER_BINARY);
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      Redirect("out", STDOUT_FILENO);
      Redirect("err", STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  ~Process() {
    if (running_) {
      kill(pid_, SIGKILL);
      Wait();
    }
    fs::remove_all(folder_);
  }

  void Signal(int signal) const { kill(pid_, signal); }
  // The exit code, or minus the signal that ended it.
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    running_ = false;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string out() const { return Content(folder_ / "out"); }
  std::string err() const { return Content(folder_ / "err"); }

 private:
  void Redirect(const char* file, int to) const {
    const int fd = open((folder_ / file).c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    dup2(fd, to);
  }

  static inline int count_ = 0;
  fs::path folder_;
  pid_t pid_ = 0;
  bool running_ = true;
};

class ServerProcess : public ::testing::Test {
 protected:
  ServerProcess()
      : port_file_(fs::path(::testing::TempDir()) / ("strata_ports_" + std::to_string(getpid()))) {
    fs::remove(port_file_);
  }
  ~ServerProcess() override { fs::remove(port_file_); }

  std::vector<std::string> ServeArgs() const {
    return {"--model",           STRATA_SOURCE_DIR "/models/demo",
            "--listen",          "127.0.0.1:0",
            "--metrics-listen",  "127.0.0.1:0",
            "--port-file",       port_file_.string(),
            "--threads",         "1",
            "--kv-cache-memory", "256MiB"};
  }

  // The gRPC address, once the server is ready.
  std::string WaitForAddress() const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!fs::exists(port_file_) && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    std::string name;
    std::string address;
    std::ifstream(port_file_) >> name >> address;
    EXPECT_EQ(name, "grpc");
    return address;
  }

  static v1::GenerateRequest LongRequest() {
    v1::GenerateRequest request;
    request.set_text("def f(x):");
    request.mutable_stopping()->set_max_new_tokens(1900);
    request.mutable_stopping()->set_ignore_eos(true);
    return request;
  }

  // Of a run that ends by itself.
  static void ExpectFailure(const std::vector<std::string>& args, int exit_code,
                            const std::string& message) {
    Process process(args);
    EXPECT_EQ(process.Wait(), exit_code) << process.err();
    EXPECT_THAT(process.err(), StartsWith("strata-server: "));
    EXPECT_THAT(process.err(), HasSubstr(message));
    const std::string err = process.err();
    EXPECT_EQ(std::count(err.begin(), err.end(), '\n'), 1) << err;
    EXPECT_EQ(process.out(), "");
  }

  const fs::path port_file_;
};

TEST_F(ServerProcess, ServesAndEndsOnSigterm) {
  Process process(ServeArgs());
  const std::string address = WaitForAddress();
  EXPECT_THAT(process.out(), StartsWith("strata-server ready: grpc " + address));
  const auto stub =
      v1::Inference::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  v1::GenerateRequest request = LongRequest();
  request.mutable_stopping()->set_max_new_tokens(10);
  grpc::ClientContext context;
  v1::GenerateResult result;
  const grpc::Status status = stub->GenerateUnary(&context, request, &result);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(result.samples(0).token_ids_size(), 10);
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0) << process.err();
}

TEST_F(ServerProcess, SaysThatAPortIsTaken) {
  Process process(ServeArgs());
  const std::string address = WaitForAddress();
  ExpectFailure({"--model", STRATA_SOURCE_DIR "/tests/goldens/models/tiny-llama3", "--listen",
                 address, "--metrics-listen", "none", "--kv-cache-memory", "16MiB"},
                1, "--listen: cannot listen on " + address);
}

TEST_F(ServerProcess, EndsAtOnceOnASecondSignal) {
  Process process(ServeArgs());
  const auto stub = v1::Inference::NewStub(
      grpc::CreateChannel(WaitForAddress(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto reader = stub->Generate(&context, LongRequest());
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  process.Signal(SIGTERM);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  process.Signal(SIGINT);
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(process.Wait(), 0) << process.err();
  EXPECT_THAT(process.err(), HasSubstr("cut short"));
}

TEST_F(ServerProcess, FailsWithOneClearLine) {
  ExpectFailure({"--model", "no/such/folder", "--port-file", port_file_.string()}, 1,
                "no/such/folder");
  ExpectFailure({"--model", "m", "--device", "cuda"}, 2, "--device: this build has no CUDA");
  ExpectFailure({"--modle", "m"}, 2, "--modle");
  ExpectFailure({}, 2, "--model: required");
  EXPECT_FALSE(fs::exists(port_file_));
}

TEST_F(ServerProcess, RefusesATruncatedCheckpoint) {
  const fs::path folder = fs::path(::testing::TempDir()) / "strata_truncated_model";
  fs::remove_all(folder);
  fs::copy(STRATA_SOURCE_DIR "/tests/goldens/models/tiny-llama3", folder);
  fs::resize_file(folder / "model-00001-of-00002.safetensors", 1000);
  ExpectFailure({"--model", folder.string(), "--port-file", port_file_.string()}, 1,
                "model-00001-of-00002.safetensors");
  EXPECT_FALSE(fs::exists(port_file_));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace strata::server
