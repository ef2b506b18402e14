// Choosing tokens on a device: what a backend may offer beside its operations, so that a round
// waits for its device once, and for few bytes, not for rows of logits at each draft.
//
// A round is told of its sequences first (Begin). Drafts are then chosen from rows of logits, and
// stay on the device, where the next batch finds its tokens (RowBatch::draft_slots). At last
// targets are chosen from the logits after each of them. Read waits, and tells all that was found.
//
// What is chosen is what the engine's Sampler and BlockVerifier (engine/sampler.h, verification.h)
// would choose: bias and penalties, temperature, top-k, top-p, min-p, and the same random numbers.
// Sums over the vocabulary run in another order, in f64. Only where such a sum decides (the edge of
// top-p, a draw from a distribution, block verification) may the last bits make another choice.
// A row's choice depends on no other row's (as all operations, see backend.h), but for the drafts
// before it in its sequence.
//
// Choosers of several devices of one kind of backend that are told the same, of logits with the
// same bits, choose the same. So the ranks of a group each choose for themselves (REQUIRED).
//
// Thread rule and errors as of the Backend that made it, which must outlive it.

#ifndef STRATA_KERNELS_CHOOSER_H_
#define STRATA_KERNELS_CHOOSER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/tensor.h"

namespace strata::kernels {

enum class ChoiceMode : uint8_t {
  kGreedy,   // the most likely token
  kSeeded,   // the largest sum of logit and noise (choice_math.h)
  kUnseeded  // a draw
};

struct TokenBias {
  int32_t id = 0;
  float bias = 0;
};

// How often a token has occurred.
struct TokenCount {
  int32_t id = 0;
  int32_t generated = 0;  // beside the prompt
};

// How tokens of one sequence are chosen. Ranges are of ChoiceRound's spans.
struct ChoiceSequence {
  struct Range {
    int32_t begin = 0;
    int32_t end = 0;
  };
  ChoiceMode mode = ChoiceMode::kGreedy;
  float temperature = 0;  // that of kGreedy does not matter
  float top_p = 1;
  float min_p = 0;
  int32_t top_k = 0;  // 0: off
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;          // kSeeded
  uint32_t sample_index = 0;  // kSeeded
  int64_t position = 0;       // of the first token that is chosen
  int32_t first_slot = 0;     // of its drafts, which have consecutive slots
  Range biases;               // ascending ids; of equal ids each is added
  Range counts;               // ascending ids, distinct: the committed tokens, where penalised
  Range stops;                // a draft that is one of these has none after it
  Range uniforms;  // kUnseeded: for each draft in turn, then for verification, two a row at most
};

struct ChoiceRound {
  std::span<const ChoiceSequence> sequences;
  std::span<const TokenBias> biases;
  std::span<const TokenCount> counts;
  std::span<const int32_t> stops;
  std::span<const double> uniforms;
  int num_slots = 0;         // of drafts
  int num_targets = 0;       // that may be chosen
  bool by_token = false;     // unseeded drafts are verified one by one, not as a block
  bool confidences = false;  // of drafts, are wanted
};

// Rows of logits in device memory.
struct LogitRows {
  ConstTensorView values;        // f32 [n, width]; in parts: [number of parts * n, widest of them]
  const int32_t* ids = nullptr;  // [width], ascending, device memory: tokens of the columns; null:
                                 // column i is token i
  // Not empty: the columns are cut into parts of so many each, or none, as ranks gather theirs. The
  // i-th part is f32 [n, part_widths[i]] and begins at row i * n of `values`. Host memory.
  std::span<const int32_t> part_widths = {};
};

struct DraftChoice {
  int32_t row = 0;         // of the logits
  int32_t sequence = 0;    // of the round
  int32_t num_before = 0;  // drafts of this round that are assumed before it, in its context and
                           // among what is penalised
  int32_t proposal = -1;   // kUnseeded: where to keep what it is drawn from; distinct in a round
};

struct TargetChoice {
  int32_t row = 0;
  int32_t sequence = 0;
  int32_t num_before = 0;
  int32_t num_drafts = 0;  // of the sequence; what follows the first stop among them does not count
  int32_t target = 0;      // its place in ChosenTokens::targets, distinct
};

struct ChosenDraft {
  int32_t token = 0;      // a token in any case
  int32_t proposal = -1;  // as it was given
  float confidence = 0;   // where asked for: its probability by softmax of the unchanged logits
  int32_t is_finite = 0;  // the logits are numbers up to kLargestLogit: else nothing was chosen
};

struct ChosenTarget {
  static constexpr int32_t kNone = -1;
  // kGreedy and kSeeded: the choice. kUnseeded: what follows the drafts before this row if no later
  // row has a token, kNone if this row decides nothing.
  int32_t token = kNone;
  int32_t is_finite = 0;
  int32_t goes_on = 0;  // kUnseeded: rows after this one matter
  int32_t reserved = 0;
};

// Host memory, valid until the next call of the chooser.
struct ChosenTokens {
  std::span<const ChosenDraft> drafts;    // [num_slots]; of slots without a draft, any values
  std::span<const ChosenTarget> targets;  // [num_targets]; of those not chosen, and of unseeded
                                          // rows that do not matter, any values
};

class Chooser {
 public:
  virtual ~Chooser() = default;

  // How many proposals can be kept in a round.
  virtual int num_proposals() const = 0;

  // Copies what `round` refers to. What was chosen before is void.
  virtual void Begin(const ChoiceRound& round) = 0;
  virtual void Draft(const LogitRows& logits, std::span<const DraftChoice> choices) = 0;
  // `logits` are of all tokens. A sequence's choices stand together, ascending from num_before = 0
  // on, all in this call or the rest in the next.
  virtual void Verify(const LogitRows& logits, std::span<const TargetChoice> choices) = 0;
  // Waits for all operations of the backend.
  virtual ChosenTokens Read() = 0;
};

struct ChooserLimits {
  int vocab_size = 0;
  int max_logit_rows = 0;  // of one call
  int max_proposals = 0;
  int64_t proposal_bytes = 0;  // for all proposals together, of 4 * vocab_size bytes each
  int num_parts = 1;           // of the logits, at most
};

// The device memory that a chooser keeps, in bytes of each buffer.
struct ChooserSizes {
  int num_proposals = 0;
  size_t proposals = 0;        // f32 [num_proposals, vocab]
  size_t proposal_totals = 0;  // f64 [num_proposals]
  size_t weights = 0;          // f32 [max_logit_rows, vocab]
  size_t weight_totals = 0;    // f64 [max_logit_rows]
  size_t whole = 0;            // f32 [max_logit_rows, vocab]: logits that come in parts

  size_t total() const { return proposals + proposal_totals + weights + weight_totals + whole; }
};

inline ChooserSizes ChooserSizesOf(const ChooserLimits& limits) {
  const size_t row = sizeof(float) * static_cast<size_t>(limits.vocab_size);
  ChooserSizes sizes;
  sizes.num_proposals = static_cast<int>(
      std::min<int64_t>(limits.proposal_bytes / static_cast<int64_t>(row), limits.max_proposals));
  sizes.proposals = row * sizes.num_proposals;
  sizes.proposal_totals = sizeof(double) * sizes.num_proposals;
  sizes.weights = row * limits.max_logit_rows;
  sizes.weight_totals = sizeof(double) * limits.max_logit_rows;
  sizes.whole = limits.num_parts > 1 ? sizes.weights : 0;
  return sizes;
}

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CHOOSER_H_
