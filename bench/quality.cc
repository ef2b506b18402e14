#include "bench/quality.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "engine/status_macros.h"

namespace strata::bench {
namespace {

constexpr int kMaxWindows = 16;

// Sums the log-likelihood of one prompt.
class ScoreSink final : public TokenSink {
 public:
  void OnStarted(int, const StartedEvent&) override {}
  void OnDelta(int, const Delta&) override {}
  void OnDraft(int, DraftEvent) override {}
  void OnPromptLogprobs(int, std::vector<TokenLogprobs> logprobs) override {
    for (const TokenLogprobs& token : logprobs) sum_ += token.logprob;
    num_tokens_ += static_cast<int>(logprobs.size());
  }
  void OnFinished(int, FinishedEvent) override {}
  void OnDone(absl::Status status) override {
    status_ = std::move(status);
    done_.Notify();
  }

  absl::Status Wait() {
    done_.WaitForNotification();
    return status_;
  }
  // After Wait.
  double sum() const { return sum_; }
  int num_tokens() const { return num_tokens_; }

 private:
  double sum_ = 0;
  int num_tokens_ = 0;
  absl::Status status_;
  absl::Notification done_;
};

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) return absl::NotFoundError(fmt::format("cannot read the text '{}'", path));
  return text;
}

}  // namespace

absl::Status MeasureQuality(const Session& session) {
  Engine& engine = session.engine;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(session.options.text));
  const std::vector<TokenId> ids = engine.tokenizer().Encode(text, /*add_special_tokens=*/false);
  const int window = std::min(kQualityTokens, engine.max_context());
  double sum = 0;
  int num_tokens = 0;
  for (int i = 0; i < kMaxWindows && static_cast<int>(ids.size()) >= i * window + 2; ++i) {
    const auto first = ids.begin() + i * window;
    GenerateRequest request;
    request.prompt = std::vector<TokenId>(first, std::min(first + window, ids.end()));
    request.output.prompt_logprobs = true;
    auto sink = std::make_shared<ScoreSink>();
    RETURN_IF_ERROR(engine.Submit(request, sink).status());
    RETURN_IF_ERROR(sink->Wait());
    sum += sink->sum();
    num_tokens += sink->num_tokens();
  }
  if (num_tokens == 0) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' has fewer than two tokens", session.options.text));
  }
  session.report.rows.push_back({.name = "nll", .value = -sum / num_tokens, .unit = "nats/token"});
  return absl::OkStatus();
}

}  // namespace strata::bench
