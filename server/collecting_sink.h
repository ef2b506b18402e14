// Gathers the whole answer of one request.

#ifndef STRATA_SERVER_COLLECTING_SINK_H_
#define STRATA_SERVER_COLLECTING_SINK_H_

#include <functional>
#include <vector>

#include "engine/request.h"
#include "server/call.h"
#include "server/event_translation.h"
#include "strata/v1/inference.pb.h"

namespace strata::server {

class CollectingSink final : public TokenSink {
 public:
  using Done = std::function<void(absl::Status status, v1::GenerateResult result)>;

  // `call` hears what is used. It and `tokenizer` must outlive this. `done` hears once, on the
  // engine's step thread.
  CollectingSink(const Tokenizer* tokenizer, bool echo, Call* call, Done done);

  void OnStarted(int sample_index, const StartedEvent& event) override;
  void OnDelta(int sample_index, const Delta& delta) override;
  void OnDraft(int sample_index, DraftEvent event) override {}
  void OnPromptLogprobs(int sample_index, std::vector<TokenLogprobs> logprobs) override;
  void OnFinished(int sample_index, FinishedEvent event) override;
  void OnDone(absl::Status status) override;

 private:
  v1::SampleResult* Sample(int sample_index);

  EventTranslation translation_;
  Call* const call_;
  const Done done_;
  v1::GenerateResult result_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_COLLECTING_SINK_H_
