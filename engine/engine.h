// The engine: continuous batching over one LayerSkip model.
//
// One step thread runs rounds (see round.h) while there is work. All public
// methods may be called from any thread.

#ifndef STRATA_ENGINE_ENGINE_H_
#define STRATA_ENGINE_ENGINE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/clock.h"
#include "engine/observer.h"
#include "engine/request.h"
#include "engine/request_validation.h"
#include "engine/round_trace.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/verification.h"
#include "kernels/backend.h"
#include "kernels/communicator.h"

namespace strata {

struct EngineOptions {
  int64_t kv_cache_bytes = int64_t{2} << 30;  // the pool's size; at least one full context must fit
  int max_batch_tokens = 512;                 // rows of one full sweep
  int max_sequences = 64;                     // running at once; a sample counts as one
  int max_queue = 256;  // waiting beside those that run; one more: RESOURCE_EXHAUSTED
  // What would wait longer by expectation: RESOURCE_EXHAUSTED. Zero: no limit.
  std::chrono::milliseconds max_queue_time{0};
  int64_t max_tokens_per_minute = 0;  // of prompts and answers, on average; 0: no limit
  int max_prefill_chunk = 0;          // rows of prompts in one round, together; 0: max_batch_tokens
  bool prefix_cache = true;  // KV of what was computed is kept for requests that begin alike
  int max_context = 0;       // positions per sequence; 0: the checkpoint's maximum
  // What Speculation::Mode::kFixed means where nobody says; kAuto may choose the exit layer too.
  int default_exit_layer = 0;              // 0: from the checkpoint's depth
  int default_num_draft_tokens = 0;        // 0: from the checkpoint's depth
  int max_draft_tokens = kMaxDraftTokens;  // of any sequence in any round; 0: nobody drafts
  // Rounds that are predicted to take longer do not draft, or draft more, for kAuto. Zero: no
  // limit.
  std::chrono::milliseconds max_inter_token_latency{0};
  // What kAuto has learnt about the traffic: read at the start if it is there, written in between
  // and in the end. Empty: it is forgotten.
  std::string policy_state;
  // How long the start may take to measure what passes through the model cost.
  std::chrono::milliseconds cost_profile_time{500};
  // Drafts are chosen among that many tokens only, which makes them cheaper, and a little worse:
  // draft_vocabulary.h. 0: among all.
  int draft_vocabulary_size = 0;
  // The file (token_count_file.h) whose most frequent tokens those are. Empty: the traffic's most
  // frequent ones, learnt; until they are, drafts are chosen among all.
  std::string draft_token_counts;
  // How unseeded drafts are verified, and memory for the distributions that one round's were drawn
  // from (round.h).
  Verification verification = Verification::kBlock;
  int64_t draft_distribution_bytes = int64_t{64} << 20;
  // How much later than another a rank of several may be.
  std::chrono::milliseconds rank_timeout{60'000};
};

// Against a checkpoint. Errors: INVALID_ARGUMENT.
absl::Status ValidateOptions(const EngineOptions& options, const ModelConfig& config);

// Rows whose logits are computed at once: bounds the logits buffer where many
// rows need them, e.g. 32 rows of a 128k vocabulary are 16 MiB.
inline constexpr int kMaxLogitRows = 32;

struct EngineLoad {
  int running_requests = 0;
  int queued_requests = 0;
  int kv_blocks_total = 0;
  int kv_blocks_used = 0;
  int kv_blocks_cached = 0;
  int exit_cache_rows_used = 0;
  double tokens_per_second = 0;  // emitted, over the last 10 seconds or so
  double acceptance_rate = 0;    // of drafts in the same time; 0 if there were none
};

// Work done since start, for invariant I3 and for metrics.
struct EngineCounters {
  int64_t rounds = 0;
  int64_t row_layers = 0;        // (row, layer) pairs computed
  int64_t draft_row_layers = 0;  // the part of row_layers that micro-steps computed
  int64_t head_rows = 0;
  int64_t logits_computed = 0;  // head_rows times the tokens of their head
  int64_t drafted_tokens = 0;
  int64_t accepted_tokens = 0;
  int64_t emitted_tokens = 0;
  int64_t prefilled_tokens = 0;  // rows of prefill chunks
  int64_t cached_tokens = 0;     // found in the prefix cache instead
  int64_t preemptions = 0;
  // Turns of the step thread, a round each where there was something to compute. One that has begun
  // and does not end is stuck.
  int64_t steps_begun = 0;
  int64_t steps_ended = 0;
  int64_t probes = 0;  // of the head_rows, those that asked other exits for kAuto's sake
};

using RequestId = uint64_t;

class Engine {
 public:
  // Builds the model on the ranks' devices (at least one, which are all of a group), allocates the
  // KV pool, its size being that of all ranks together, and starts the step thread. `observer` and
  // `clock` may be null (none; the steady clock); they must outlive the engine. Errors:
  // INVALID_ARGUMENT (options and ranks against the checkpoint), RESOURCE_EXHAUSTED (memory).
  static absl::StatusOr<std::unique_ptr<Engine>> Create(std::unique_ptr<Checkpoint> checkpoint,
                                                        std::unique_ptr<Tokenizer> tokenizer,
                                                        std::vector<kernels::RankDevice> ranks,
                                                        const EngineOptions& options,
                                                        EngineObserver* observer,
                                                        const Clock* clock);
  // On one device.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(std::unique_ptr<Checkpoint> checkpoint,
                                                        std::unique_ptr<Tokenizer> tokenizer,
                                                        std::unique_ptr<kernels::Backend> backend,
                                                        const EngineOptions& options,
                                                        EngineObserver* observer,
                                                        const Clock* clock);
  // Stops as by Stop(UNAVAILABLE).
  ~Engine();

  // Queues `request`. After OK the sink hears OnDone exactly once; after an
  // error it hears nothing. Errors:
  //   INVALID_ARGUMENT    a field out of range (the message begins with the field's name as in
  //                       request.h, e.g. "sampling.top_p"), unknown token id, empty prompt
  //   OUT_OF_RANGE        the prompt leaves no room in the context (which the KV pool always holds)
  //   RESOURCE_EXHAUSTED  the queue is full, or another limit is reached, the tenant's or the
  //                       engine's; RetryDelay(status) may know when to try again
  //   UNAVAILABLE         stopping
  absl::StatusOr<RequestId> Submit(GenerateRequest request, std::shared_ptr<TokenSink> sink);

  // Ends a request with CANCELLED within one round. Unknown ids (it may have
  // finished already) are ignored.
  void Cancel(RequestId id);

  // Refuses new requests from now on; those admitted run on.
  void StopAdmitting();
  // Waits until no request is running or queued; false at `deadline`.
  bool WaitUntilIdle(Instant deadline);
  // Ends all requests with `reason` and the step thread. Idempotent.
  void Stop(absl::Status reason);
  // OK, or why nothing can be computed any more: a device or a rank is lost. All requests have
  // ended with it, or are about to.
  absl::Status failure() const;

  EngineLoad GetLoad() const;
  EngineCounters GetCounters() const;
  // The last rounds, `max_rounds` and RoundTrace::kNumRounds at most, the oldest first.
  std::vector<RoundRecord> GetTrace(size_t max_rounds) const;
  // When their start_ns would be 0.
  Instant trace_begin() const;
  const Checkpoint& checkpoint() const;
  const Tokenizer& tokenizer() const;
  int max_context() const;
  // What Speculation::Mode::kFixed means where nobody says.
  Speculation default_fixed_speculation() const;
  std::string backend_description() const;
  int num_ranks() const;
  // What did not keep it from working, since the last call.
  std::vector<std::string> TakeWarnings();

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_ENGINE_H_
