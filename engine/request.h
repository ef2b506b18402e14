// What a caller asks of the engine. Every value is explicit here: defaults are
// filled in before a request is submitted (the server does so from the
// checkpoint's generation_config.json and its own flags).

#ifndef STRATA_ENGINE_REQUEST_H_
#define STRATA_ENGINE_REQUEST_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "engine/clock.h"
#include "engine/tenant.h"
#include "engine/tokenizer/tokenizer.h"

namespace strata {

// Applied to a row of logits in this order: logit bias, repetition penalty,
// presence and frequency penalties, temperature, top-k, top-p, min-p.
struct SamplingParams {
  float temperature = 1.0f;         // [0.01, 100], or 0: greedy (top-k, top-p, min-p: no effect)
  float top_p = 1.0f;               // (0, 1]; 1: off
  int top_k = 0;                    // >= 0; 0: off
  float min_p = 0.0f;               // [0, 1]; keeps tokens of at least min_p times the largest
                                    // probability; 0: off
  std::optional<uint64_t> seed;     // present: reproducible (invariant I1)
  float repetition_penalty = 1.0f;  // [0.01, 100]; of prompt and generated tokens; 1: off
  float presence_penalty = 0.0f;    // [-2, 2]; of generated tokens
  float frequency_penalty = 0.0f;   // [-2, 2]; of generated tokens, per occurrence
  std::vector<std::pair<TokenId, float>> logit_bias;  // added to the logit; at most 1024
  int num_samples = 1;                                // independent continuations, 1 .. 16
};

struct StoppingCriteria {
  int max_new_tokens = 0;  // >= 1; 0 only where prompt_logprobs is asked for (scoring)
  std::vector<std::string> stop_sequences;  // at most 16, each 1 .. 256 bytes of UTF-8
  std::vector<TokenId> stop_token_ids;      // at most 64
  bool ignore_eos = false;
  bool include_stop_text = false;  // whether the text ends with the matched stop sequence
  std::optional<std::chrono::milliseconds> time_limit;  // of generating, from Submit
};

struct Speculation {
  enum class Mode { kOff, kFixed, kAuto };
  Mode mode = Mode::kOff;
  // kFixed. exit_layer in [1, num_layers - 1]: the draft runs layers [0, exit_layer).
  int exit_layer = 0;
  int num_draft_tokens = 0;  // 0 .. 32 per round; kAuto: the most it may draft, 0: engine's choice
  std::vector<int> exit_layers;  // kAuto: the candidates; empty: engine's choice
};

struct OutputOptions {
  // Present: log-probabilities of the emitted tokens, and of that many of the
  // most likely ones (0 .. 20), by the model's own distribution: before
  // penalties, bias, temperature and truncation.
  std::optional<int> logprobs;
  bool prompt_logprobs = false;  // the same of the prompt's tokens but the first
  bool stream_drafts = false;    // report drafted tokens before they are verified
  bool echo = false;             // the first delta carries the prompt
};

struct GenerateRequest {
  std::variant<std::string, std::vector<TokenId>> prompt;  // text is tokenized with special tokens
  SamplingParams sampling;
  StoppingCriteria stopping;
  Speculation speculation;
  OutputOptions output;
  Tenant tenant;
  // Work not done by then is dropped with DEADLINE_EXCEEDED.
  std::optional<Instant> deadline;
};

// ---- What comes back --------------------------------------------------------

enum class FinishReason {
  kEos,
  kStopSequence,
  kStopToken,
  kMaxTokens,
  kContextFull,
  kTimeLimit,
};

struct TokenLogprob {
  TokenId token_id = 0;
  float logprob = 0;
};

struct TokenLogprobs {
  TokenId token_id = 0;
  float logprob = 0;
  bool is_greedy = false;         // whether token_id is the most likely one
  std::vector<TokenLogprob> top;  // most likely first; ties by lower id
};

struct StartedEvent {
  uint64_t request = 0;  // what Engine::Submit returned
  int prompt_tokens = 0;
  int cached_prompt_tokens = 0;  // prompt tokens whose KV was found in the prefix cache
  std::optional<uint64_t> seed;
  Speculation speculation;  // as it will be used
};

// Newly committed tokens. `text` may lag behind `token_ids` by an unfinished
// character or by what may become a stop sequence; it catches up in a later
// delta, the last of which comes before OnFinished.
struct Delta {
  std::vector<TokenId> token_ids;
  int num_accepted_drafts = 0;  // how many of the leading token_ids were drafted
  std::string text;
  std::vector<TokenLogprobs> logprobs;  // one per token id where asked for
};

// Tokens drafted in this round and not yet verified: for display only.
struct DraftEvent {
  std::vector<TokenId> token_ids;
  std::string text;
  int exit_layer = 0;
};

struct SpeculationStats {
  int rounds = 0;  // rounds that committed at least one token
  int drafted_tokens = 0;
  int accepted_tokens = 0;                 // drafted tokens that were committed and sent (I5)
  int emitted_tokens = 0;                  // all tokens sent
  std::vector<int> accepted_per_position;  // [i]: rounds whose draft i was accepted
  std::vector<std::pair<int, int>> rounds_per_exit_layer;  // (exit layer, rounds that drafted)
};

struct Timing {
  Duration queued{};   // Submit to first scheduled
  Duration prefill{};  // first scheduled to first token
  Duration decode{};   // first token to last
};

struct FinishedEvent {
  FinishReason reason = FinishReason::kMaxTokens;
  std::string matched_stop;  // kStopSequence: the sequence
  int prompt_tokens = 0;
  int generated_tokens = 0;
  SpeculationStats speculation;
  Timing timing;
};

// Receives one request's results, in order, on the engine's step thread. Must
// not block: a slow consumer buffers or coalesces on its side.
// Per sample: OnStarted, then OnDelta and OnDraft, then OnFinished. Last of all and exactly once:
// OnDone, with OK if all samples finished, else the reason (CANCELLED, DEADLINE_EXCEEDED, ...).
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void OnStarted(int sample_index, const StartedEvent& event) = 0;
  // The delta lives as long as the call.
  virtual void OnDelta(int sample_index, const Delta& delta) = 0;
  // Only where OutputOptions::stream_drafts is set.
  virtual void OnDraft(int sample_index, DraftEvent event) = 0;
  // Where OutputOptions::prompt_logprobs is set; may come in several parts, in order of position.
  virtual void OnPromptLogprobs(int sample_index, std::vector<TokenLogprobs> logprobs) = 0;
  virtual void OnFinished(int sample_index, FinishedEvent event) = 0;
  virtual void OnDone(absl::Status status) = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_REQUEST_H_
