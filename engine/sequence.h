// One sample of one request on its way through the engine.

#ifndef STRATA_ENGINE_SEQUENCE_H_
#define STRATA_ENGINE_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/admission.h"
#include "engine/block_table.h"
#include "engine/clock.h"
#include "engine/kv_pool.h"
#include "engine/policy/draft_row.h"
#include "engine/random.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/text_stream.h"
#include "kernels/backend.h"

namespace strata {

// What all samples of one request share.
struct RequestState {
  uint64_t id = 0;
  GenerateRequest params;
  std::vector<TokenId> prompt;
  std::vector<TokenId> eos_token_ids;  // the checkpoint's
  std::shared_ptr<TokenSink> sink;
  Admission::Ticket ticket;
  Instant submitted;
  int unfinished_samples = 0;
};

class Sequence;
struct TenantAccount;

// What the scheduler and its queue keep of a sequence; nobody else changes it.
struct SchedulingState {
  TenantAccount* account = nullptr;  // null: not with a scheduler
  bool running = false;
  uint64_t arrival = 0;    // position in the order of arrival
  uint64_t admission = 0;  // position in the order of (re)admission
  // Neighbours in the tenant's line.
  Sequence* ahead = nullptr;
  Sequence* behind = nullptr;
  int num_charged = 0;  // tokens that the tenant was charged for
  // How often it lost its place for want of blocks, and to a tenant with less than its share.
  int num_evictions = 0;
  int num_displacements = 0;
};

// Invariant between rounds: positions [0, num_computed) have keys and values
// of full depth, and block_table covers them. `tokens` holds all committed tokens; after a
// decoding round the newest one alone has no keys and values yet.
class Sequence {
 public:
  // `max_tokens` bounds prompt and generation together (the context). `rng_key` feeds unseeded
  // sampling. The tokenizer must outlive this.
  Sequence(std::shared_ptr<RequestState> request, int sample_index, const Tokenizer* tokenizer,
           int max_tokens, uint64_t rng_key);

  const std::shared_ptr<RequestState>& request() const { return request_; }
  int sample_index() const { return sample_index_; }
  const std::vector<TokenId>& tokens() const { return tokens_; }
  int num_prompt_tokens() const { return static_cast<int>(request_->prompt.size()); }
  int num_generated() const { return static_cast<int>(tokens_.size()) - num_prompt_tokens(); }
  // Tokens that may still be generated; 0: finished, or only scoring.
  int num_tokens_left() const;

  // ---- Keys and values
  int num_computed() const { return kv_.num_computed(); }
  // Committed positions whose full-depth KV the next sampled token needs.
  int num_pending() const;
  bool decoding() const { return num_pending() == 1 && num_generated() > 0; }
  void set_num_computed(int num_computed) { kv_.set_num_computed(num_computed); }
  const std::vector<int32_t>& block_table() const { return kv_.blocks(); }
  // Blocks to allocate before positions [0, num_positions) can be written.
  int NumBlocksMissing(int num_positions) const { return kv_.NumBlocksMissing(num_positions); }
  // ... before all that is pending can be.
  int NumBlocksMissing() const { return kv_.NumBlocksMissing(num_computed() + num_pending()); }
  // Blocks that it may still want until it ends.
  int MostBlocksMissing() const;
  // REQUIRES: enough available blocks.
  void GrowKv(int num_positions, KvPool& pool) { kv_.Grow(num_positions, pool); }
  // Gives back blocks beyond those of positions [0, num_positions).
  void TruncateKv(int num_positions, KvPool& pool) { kv_.Truncate(num_positions, pool); }

  // What its prefixes begin with: see KvPool::Root. Set before it has blocks.
  void set_prefix_root(PrefixId root) { kv_.set_root(root); }
  // Takes over what the prefix cache has of its pending positions, but the last one: somebody has
  // to compute the next token's logits. Returns how many positions it was spared.
  int AdoptPrefix(KvPool& pool);
  // Offers blocks that have become full to others.
  void PublishPrefix(KvPool& pool) { kv_.Publish(tokens_, pool); }
  // Equal for two sequences that have to compute the same block next; absent: it could not be
  // adopted.
  std::optional<uint64_t> NextBlockHash(const KvPool& pool) const {
    return kv_.NextBlockHash(tokens_, MostAdoptable(), pool);
  }

  // ---- Tokens
  Sampler& sampler() { return sampler_; }
  const Sampler& sampler() const { return sampler_; }
  CounterRng& uniforms() { return rng_; }
  const CounterRng& uniforms() const { return rng_; }
  bool IsStop(TokenId id) const;  // an end-of-sequence or stop token of this request
  // Appends a token; sets finish_reason() if it is the last. Text and token go to the pending
  // delta.
  void Commit(TokenId id, bool drafted, std::optional<TokenLogprobs> logprobs);
  void Finish(FinishReason reason);
  const std::optional<FinishReason>& finish_reason() const { return finish_reason_; }

  // What to send since the last call.
  bool HasDelta() const { return !delta_.token_ids.empty() || !delta_.text.empty(); }
  const Delta& delta() const { return delta_; }
  // Keeps its memory, for the next one.
  void ClearDelta();
  FinishedEvent MakeFinishedEvent(Instant now) const;
  // Text of `ids` as drafts after the current text, for display.
  std::string DraftText(std::span<const TokenId> ids) const;

  // ---- Speculation
  int exit_layer = 0;                   // of the coming round
  int num_draft_tokens = 0;             // the most that it may draft
  std::unique_ptr<DraftRow> draft_row;  // by which that is decided, if it is

  SchedulingState scheduling;

  // ---- For the caller's statistics
  SpeculationStats stats;
  bool started = false;  // OnStarted has been sent
  Instant first_scheduled{};
  std::optional<Instant> first_token;
  Instant last_token{};
  // The next prompt position whose log-probability is to be reported.
  int next_prompt_logprob = 1;

 private:
  int MostAdoptable() const;
  void CommitEcho();
  void CheckFinished(TokenId id);

  const std::shared_ptr<RequestState> request_;
  const int sample_index_;
  const Tokenizer* const tokenizer_;
  const int max_tokens_;
  std::vector<TokenId> tokens_;
  BlockTable kv_;
  Sampler sampler_;
  CounterRng rng_;
  TextStream text_;
  Delta delta_;
  std::optional<FinishReason> finish_reason_;
  std::string matched_stop_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_SEQUENCE_H_
