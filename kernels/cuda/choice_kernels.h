// Launchers of the kernels that choose tokens and verify drafts. All run in `stream` and do not
// wait. One block has a row, or a sequence: sums have an order of their own, whatever stands
// beside.

#ifndef STRATA_KERNELS_CUDA_CHOICE_KERNELS_H_
#define STRATA_KERNELS_CUDA_CHOICE_KERNELS_H_

#include <driver_types.h>

#include <cstdint>

#include "kernels/chooser.h"

namespace strata::kernels::cuda {

// Where the verification of an unseeded sequence stands.
struct Verdict {
  double reach = 1;          // of the drafts so far
  int32_t num_uniforms = 0;  // used, behind those of the drafts
  int32_t is_final = 0;
};

// A round in device memory. Pointers are to arrays as in ChoiceRound.
struct DeviceRound {
  const ChoiceSequence* sequences = nullptr;
  const TokenBias* biases = nullptr;
  const TokenCount* counts = nullptr;
  const int32_t* stops = nullptr;
  const double* uniforms = nullptr;
  bool by_token = false;
  bool confidences = false;
  int vocab_size = 0;
  ChosenDraft* drafts = nullptr;    // [num_slots]
  ChosenTarget* targets = nullptr;  // [num_targets]
  Verdict* verdicts = nullptr;      // [num_sequences]
  // What drafts were drawn from: weights of all tokens, and their sums.
  float* proposals = nullptr;         // [num_proposals, vocab_size]
  double* proposal_totals = nullptr;  // [num_proposals]
  // Of the rows of one call: changed logits; then, of unseeded targets, weights, and their sums.
  float* weights = nullptr;         // [max_logit_rows, vocab_size]
  double* weight_totals = nullptr;  // [max_logit_rows]
};

struct DeviceLogits {
  const float* values = nullptr;  // [any, width]
  const int32_t* ids = nullptr;   // as in LogitRows
  int width = 0;
};

// whole = the columns of all parts side by side. The i-th of `parts` is f32 [rows, widths[i]] and
// begins at i * rows * widest.  widths [num_parts], device memory, whole f32 [rows, width]
void JoinParts(cudaStream_t stream, const float* parts, const int32_t* widths, int num_parts,
               int64_t widest, int64_t rows, int64_t width, float* whole);

// What one block has to do. `choice` in device memory.
void ChooseDrafts(cudaStream_t stream, const DeviceRound& round, const DeviceLogits& logits,
                  const DraftChoice* choices, int count);
// Greedy and seeded choices; of unseeded ones the weights, for VerifyDrafts.
void ChooseTargets(cudaStream_t stream, const DeviceRound& round, const DeviceLogits& logits,
                   const TargetChoice* choices, int count);

// The choices [begin, end) of one unseeded sequence.
struct VerifySpan {
  int32_t begin = 0;
  int32_t end = 0;
};
void VerifyDrafts(cudaStream_t stream, const DeviceRound& round, const TargetChoice* choices,
                  const VerifySpan* spans, int num_spans);

// token_ids[i] = the draft in slots[i] less first_token, where that slot is not -1; -1 for what is
// none of the num_tokens from there on.
void TakeDrafts(cudaStream_t stream, const int32_t* slots, const ChosenDraft* drafts, int64_t rows,
                int32_t first_token, int32_t num_tokens, int32_t* token_ids);

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_CHOICE_KERNELS_H_
