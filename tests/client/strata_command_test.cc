// The real strata command, against a service that answers as told: what goes
// to standard output, what to standard error, and its exit code.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "tests/fakes/fake_inference_service.h"

namespace strata::client {
namespace {

using ::testing::HasSubstr;

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

class StrataCommand : public ::testing::Test {
 protected:
  // `args` as a shell reads them; `input` comes from standard input.
  Outcome Run(const std::string& args, const std::string& input = "") {
    const std::string base = ::testing::TempDir() + "strata_command_" + std::to_string(getpid());
    const std::string err_path = base + "_err";
    const std::string in_path = base + "_in";
    std::ofstream(in_path) << input;
    const std::string command = std::string(STRATA_BINARY) + " --server " + service_.address() +
                                " " + args + " <" + in_path + " 2>" + err_path;
    Outcome outcome;
    FILE* pipe = popen(command.c_str(), "r");
    char buffer[4096];
    for (size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
      outcome.out.append(buffer, n);
    }
    outcome.exit_code = WEXITSTATUS(pclose(pipe));
    std::stringstream err;
    err << std::ifstream(err_path).rdbuf();
    outcome.err = err.str();
    std::remove(err_path.c_str());
    std::remove(in_path.c_str());
    return outcome;
  }

  void Answer(const std::string& text) {
    v1::GenerateResponse delta;
    delta.mutable_delta()->add_token_ids(5);
    delta.mutable_delta()->set_text(text);
    v1::GenerateResponse finished;
    finished.mutable_finished()->set_reason(v1::FINISH_REASON_EOS);
    service_.responses = {delta, finished};
  }

  FakeInferenceService service_;
};

TEST_F(StrataCommand, PipesTheBareText) {
  Answer("some text");
  const Outcome outcome = Run("generate prompt --stats");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "some text");
  EXPECT_THAT(outcome.err, HasSubstr("tokens/s"));
}

TEST_F(StrataCommand, ReadsTextFromStandardInput) {
  EXPECT_EQ(Run("tokenize -", "AB").out, "65 66\n");
}

TEST_F(StrataCommand, PrintsOneJsonObjectALine) {
  Answer("some\ntext");
  const Outcome outcome = Run("generate prompt --json");
  std::istringstream lines(outcome.out);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(nlohmann::json::parse(line)["delta"]["text"], "some\ntext");
  std::getline(lines, line);
  EXPECT_EQ(nlohmann::json::parse(line)["finished"]["reason"], "FINISH_REASON_EOS");
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(StrataCommand, TellsErrorsOnStandardErrorOnly) {
  service_.status = grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "sampling.top_p: bad");
  Outcome outcome = Run("generate prompt");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "strata: INVALID_ARGUMENT: sampling.top_p: bad\n");
  outcome = Run("generate prompt --no-such-flag");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--no-such-flag"));
  EXPECT_EQ(Run("").exit_code, 2);
}

TEST_F(StrataCommand, HonoursColorFlags) {
  Answer("text");
  v1::TokenRun* run = service_.responses[0].mutable_delta()->add_runs();
  run->set_num_tokens(1);
  run->set_text_bytes(4);
  run->set_drafted(true);
  EXPECT_EQ(Run("generate prompt --color always").out, "\033[32mtext\033[0m");
  EXPECT_EQ(Run("generate prompt --color never").out, "text");
  EXPECT_EQ(Run("generate prompt").out, "text");  // a pipe is no terminal
}

TEST_F(StrataCommand, Tokenizes) {
  EXPECT_EQ(Run("tokenize AB").out, "65 66\n");
  EXPECT_EQ(Run("tokenize AB --pieces").out, "65\tA\n66\tB\n");
}

TEST_F(StrataCommand, ChatKeepsWhatWasSaid) {
  Answer("answer");
  EXPECT_EQ(Run("chat").out, "");
  EXPECT_EQ(Run("chat", "one\ntwo\n").out, "answer\nanswer\n");
  EXPECT_EQ(service_.last_prompt(), "one\nanswer\ntwo\n");
  Run("chat", "one\n/reset\ntwo\n");
  EXPECT_EQ(service_.last_prompt(), "two\n");
}

TEST_F(StrataCommand, HelpNamesEverySubcommand) {
  const Outcome outcome = Run("--help");
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* name : {"generate", "chat", "compare", "score", "tokenize", "info", "load"}) {
    EXPECT_THAT(outcome.out, HasSubstr(name));
  }
}

}  // namespace
}  // namespace strata::client
