// A TokenSink that keeps everything, for tests and benchmarks.

#ifndef STRATA_TESTS_SUPPORT_COLLECTING_SINK_H_
#define STRATA_TESTS_SUPPORT_COLLECTING_SINK_H_

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/request.h"

namespace strata {

struct CollectedSample {
  StartedEvent started;
  std::vector<TokenId> token_ids;
  std::string text;
  std::vector<TokenLogprobs> logprobs;
  std::vector<TokenLogprobs> prompt_logprobs;
  std::vector<Delta> deltas;
  std::vector<DraftEvent> drafts;
  std::optional<FinishedEvent> finished;
};

class CollectingSink final : public TokenSink {
 public:
  void OnStarted(int sample, const StartedEvent& event) override {
    std::lock_guard lock(mu_);
    samples_[sample].started = event;
  }
  void OnDelta(int sample, const Delta& delta) override {
    std::lock_guard lock(mu_);
    CollectedSample& to = samples_[sample];
    to.token_ids.insert(to.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
    to.text += delta.text;
    to.logprobs.insert(to.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
    to.deltas.push_back(delta);
    changed_.notify_all();
  }
  void OnDraft(int sample, DraftEvent event) override {
    std::lock_guard lock(mu_);
    samples_[sample].drafts.push_back(std::move(event));
  }
  void OnPromptLogprobs(int sample, std::vector<TokenLogprobs> logprobs) override {
    std::lock_guard lock(mu_);
    auto& to = samples_[sample].prompt_logprobs;
    to.insert(to.end(), logprobs.begin(), logprobs.end());
  }
  void OnFinished(int sample, FinishedEvent event) override {
    std::lock_guard lock(mu_);
    samples_[sample].finished = std::move(event);
  }
  void OnDone(absl::Status status) override {
    std::lock_guard lock(mu_);
    ++times_done_;
    status_ = std::move(status);
    changed_.notify_all();
  }

  // Waits for OnDone.
  absl::Status Wait() {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [this] { return status_.has_value(); });
    return *status_;
  }
  // Waits until a token of sample 0 has come, or OnDone.
  void WaitForToken() {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [this] { return status_.has_value() || !samples_[0].token_ids.empty(); });
  }

  // Call after Wait.
  const CollectedSample& sample(int index = 0) { return samples_[index]; }
  int times_done() const { return times_done_; }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  std::map<int, CollectedSample> samples_;
  std::optional<absl::Status> status_;
  int times_done_ = 0;
};

}  // namespace strata

#endif  // STRATA_TESTS_SUPPORT_COLLECTING_SINK_H_
