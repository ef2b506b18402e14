// A CollectingSink that can hold the engine's step thread: what another thread
// does in the meantime then happens at a known moment.

#ifndef STRATA_TESTS_ENGINE_UNIT_HOOKED_SINK_H_
#define STRATA_TESTS_ENGINE_UNIT_HOOKED_SINK_H_

#include <functional>
#include <latch>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "tests/support/collecting_sink.h"

namespace strata {

class HookedSink final : public TokenSink {
 public:
  // `on_first_delta` is called on the step thread, before the delta is kept.
  explicit HookedSink(std::function<void()> on_first_delta)
      : on_first_delta_(std::move(on_first_delta)) {}

  void OnStarted(int sample, const StartedEvent& event) override {
    collected.OnStarted(sample, event);
  }
  void OnDelta(int sample, const Delta& delta) override {
    if (on_first_delta_) std::exchange(on_first_delta_, nullptr)();
    collected.OnDelta(sample, delta);
  }
  void OnDraft(int sample, DraftEvent event) override {
    collected.OnDraft(sample, std::move(event));
  }
  void OnPromptLogprobs(int sample, std::vector<TokenLogprobs> logprobs) override {
    collected.OnPromptLogprobs(sample, std::move(logprobs));
  }
  void OnFinished(int sample, FinishedEvent event) override {
    collected.OnFinished(sample, std::move(event));
  }
  void OnDone(absl::Status status) override { collected.OnDone(std::move(status)); }

  CollectingSink collected;

 private:
  std::function<void()> on_first_delta_;
};

// Where the step thread waits, from its arrival until it is released.
class Gate {
 public:
  std::function<void()> Hook() {
    return [this] {
      arrived_.count_down();
      released_.wait();
    };
  }
  void WaitForArrival() { arrived_.wait(); }
  void Release() { released_.count_down(); }

 private:
  std::latch arrived_{1}, released_{1};
};

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_UNIT_HOOKED_SINK_H_
