#include <cstdint>

#include "kernels/cuda/block_sums.h"
#include "kernels/cuda/choice_kernels.h"
#include "kernels/cuda/device_language.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/token_row.h"

namespace strata::kernels::cuda {
namespace {

constexpr int kThreads = 128;  // of kernels without a row

// A row of logits and how one token of a sequence is chosen from it.
struct Choosing {
  const DeviceRound& round;
  const ChoiceSequence& sequence;
  int num_before;
  TokenRow raw;
  float* changed;  // [width], for logits after bias and penalties
};

// Logits after bias and penalties. These may stand in `changed`.
__device__ TokenRow Change(const Choosing& c) {
  const ChoiceSequence& s = c.sequence;
  const bool penalises =
      s.repetition_penalty != 1.0f || s.presence_penalty != 0.0f || s.frequency_penalty != 0.0f;
  if (!penalises && s.biases.begin == s.biases.end) return c.raw;
  TokenRow row = c.raw;
  row.values = c.changed;
  for (int i = threadIdx.x; i < row.width; i += kRowThreads) c.changed[i] = c.raw.values[i];
  __syncthreads();
  const TokenBias* const biases = c.round.biases;
  for (int i = s.biases.begin + static_cast<int>(threadIdx.x); i < s.biases.end; i += kRowThreads) {
    if (i > s.biases.begin && biases[i - 1].id == biases[i].id) continue;
    const int column = row.ColumnOf(biases[i].id);
    if (column < 0) continue;
    for (int j = i; j < s.biases.end && biases[j].id == biases[i].id; ++j) {
      c.changed[column] += biases[j].bias;
    }
  }
  __syncthreads();
  if (!penalises) return row;

  const ChosenDraft* const drafts = c.round.drafts + s.first_slot;
  const auto penalise = [&](int32_t id, int generated) {
    const int column = row.ColumnOf(id);
    if (column < 0) return;
    for (int j = 0; j < c.num_before; ++j) generated += drafts[j].token == id ? 1 : 0;
    float logit = c.changed[column];
    logit = logit > 0 ? logit / s.repetition_penalty : logit * s.repetition_penalty;
    if (generated > 0) {
      logit -= s.presence_penalty + s.frequency_penalty * static_cast<float>(generated);
    }
    c.changed[column] = logit;
  };
  const TokenCount* const counts = c.round.counts + s.counts.begin;
  const int num_counts = s.counts.end - s.counts.begin;
  for (int i = threadIdx.x; i < num_counts; i += kRowThreads) {
    penalise(counts[i].id, counts[i].generated);
  }
  // Drafts that had not occurred before.
  for (int i = threadIdx.x; i < c.num_before; i += kRowThreads) {
    const int32_t id = drafts[i].token;
    bool is_first = true;
    for (int j = 0; j < i; ++j) is_first = is_first && drafts[j].token != id;
    const int place = LowerBound(num_counts, [&](int j) { return counts[j].id < id; });
    if (is_first && (place == num_counts || counts[place].id != id)) penalise(id, 0);
  }
  __syncthreads();
  return row;
}

// The distribution that is left by temperature and truncation, as weights of all tokens; returns
// their sum. `weights` [vocab_size] may be the row's own values if that has all tokens.
__device__ double WriteWeights(const ScaledRow& row, const Support& support, int vocab_size,
                               float* weights) {
  __syncthreads();  // all know the row's largest
  if (row.tokens.ids != nullptr) {
    for (int i = threadIdx.x; i < vocab_size; i += kRowThreads) weights[i] = 0;
    __syncthreads();
  }
  double sum = 0;
  for (int i = threadIdx.x; i < row.tokens.width; i += kRowThreads) {
    const float weight = support.Holds(row, i) ? row.Weight(i) : 0.0f;
    weights[row.tokens.IdAt(i)] = weight;
    sum += weight;
  }
  return BlockSum(sum);
}

// The column with the largest sum of logit and noise; `best` has the largest logit. A token can win
// only if its noise exceeds the lead of the best so far: -log(-log(u)) > lead, and as
// -log(u) >= 1 - u, that needs 1 - u < exp(-lead), which spares most of them the logarithms.
__device__ int GumbelMax(const ScaledRow& row, const Support& support, uint64_t noise_key,
                         int best) {
  constexpr double kSlack = 1.0 + 1e-4;  // beyond FastExp's error
  const auto score = [&](int i, double u) { return row.Logit(i) - log(-log(u)); };
  const auto uniform = [&](int i) { return NoiseUniform(noise_key, row.tokens.IdAt(i)); };
  Scored own = {score(best, uniform(best)), best};
  double bound = kSlack * exp(row.largest - own.score);
  for (int i = threadIdx.x; i < row.tokens.width; i += kRowThreads) {
    const double u = uniform(i);
    if (1.0 - u >= row.Weight(i) * bound || !support.Holds(row, i)) continue;
    const Scored better = Better(own, {score(i, u), i});
    if (better.index == own.index) continue;
    own = better;
    bound = kSlack * exp(row.largest - own.score);
  }
  return BlockBest(own).index;
}

// Chooses a column for the mode, or, unseeded, leaves the distribution in `weights` and returns
// -1. `total`: its sum.
__device__ int Choose(const Choosing& c, int best, float* weights, double* total) {
  const ChoiceSequence& s = c.sequence;
  const TokenRow row = Change(c);
  if (row.values != c.raw.values) best = row.Best();
  if (s.mode == ChoiceMode::kGreedy) return best;
  const float scale = 1.0f / s.temperature;
  const ScaledRow scaled = {row, scale, row.values[best] * scale};
  const Support support = Truncate(scaled, s);
  if (s.mode == ChoiceMode::kSeeded) {
    const uint64_t key = NoiseKey(s.seed, s.sample_index, s.position + c.num_before);
    return GumbelMax(scaled, support, key, best);
  }
  *total = WriteWeights(scaled, support, c.round.vocab_size, weights);
  return -1;
}

__global__ void __launch_bounds__(kRowThreads, 1)
    DraftKernel(DeviceRound round, DeviceLogits logits, const DraftChoice* choices) {
  const DraftChoice choice = choices[blockIdx.x];
  const ChoiceSequence& sequence = round.sequences[choice.sequence];
  ChosenDraft chosen;
  chosen.proposal = choice.proposal;
  const TokenRow raw = {logits.values + int64_t{choice.row} * logits.width, logits.ids,
                        logits.width};
  chosen.is_finite = raw.IsFinite() ? 1 : 0;
  chosen.token = raw.IdAt(0);
  if (chosen.is_finite != 0) {
    const int64_t vocab_size = round.vocab_size;
    const Choosing choosing = {round, sequence, choice.num_before, raw,
                               round.weights + blockIdx.x * vocab_size};
    const int best = raw.Best();
    float* const weights =
        choice.proposal < 0 ? nullptr : round.proposals + choice.proposal * vocab_size;
    double total = 0;
    int column = Choose(choosing, best, weights, &total);
    if (column >= 0) {
      chosen.token = raw.IdAt(column);
    } else {
      const double u = round.uniforms[sequence.uniforms.begin + choice.num_before];
      chosen.token = FindIndex(
          round.vocab_size, [&](int i) { return weights[i]; }, u * total);
      column = raw.ColumnOf(chosen.token);
      if (threadIdx.x == 0) round.proposal_totals[choice.proposal] = total;
    }
    if (round.confidences) {
      const ScaledRow plain = {raw, 1.0f, raw.values[best]};
      const double mass = SumOf(raw.width, [&](int i) { return plain.Weight(i); });
      chosen.confidence = static_cast<float>(plain.Weight(column) / mass);
    }
  }
  if (threadIdx.x == 0) round.drafts[sequence.first_slot + choice.num_before] = chosen;
}

__global__ void __launch_bounds__(kRowThreads, 1)
    TargetKernel(DeviceRound round, DeviceLogits logits, const TargetChoice* choices) {
  const TargetChoice choice = choices[blockIdx.x];
  const TokenRow raw = {logits.values + int64_t{choice.row} * logits.width, nullptr, logits.width};
  ChosenTarget chosen;
  chosen.is_finite = raw.IsFinite() ? 1 : 0;
  if (chosen.is_finite != 0) {
    float* const weights = round.weights + blockIdx.x * int64_t{round.vocab_size};
    const Choosing choosing = {round, round.sequences[choice.sequence], choice.num_before, raw,
                               weights};
    double total = 0;
    chosen.token = Choose(choosing, raw.Best(), weights, &total);
    if (threadIdx.x == 0) round.weight_totals[blockIdx.x] = total;
  }
  if (threadIdx.x == 0) round.targets[choice.target] = chosen;
}

// How many of a sequence's drafts count: those up to the first stop.
__device__ int CountDrafts(const DeviceRound& round, const ChoiceSequence& sequence,
                           int num_drafts) {
  const int num_stops = sequence.stops.end - sequence.stops.begin;
  Scored own;  // the first, by the largest of its negatives
  for (int i = threadIdx.x; i < num_drafts * num_stops; i += kRowThreads) {
    const int draft = i / num_stops;
    const int32_t stop = round.stops[sequence.stops.begin + i % num_stops];
    if (round.drafts[sequence.first_slot + draft].token == stop) {
      own = Better(own, {-static_cast<double>(draft), draft});
    }
  }
  const int stopped = BlockBest(own).index;
  return stopped < num_drafts ? stopped + 1 : num_drafts;
}

// A distribution over all tokens, as weights.
struct Weights {
  const float* values;
  double total;
};

// Verifies one sequence's rows, as BlockVerifier.
class Verification {
 public:
  __device__ Verification(const DeviceRound& round, const ChoiceSequence& sequence, int num_drafts,
                          const Verdict& verdict)
      : round_(round), sequence_(sequence), num_drafts_(num_drafts), verdict_(verdict) {}

  __device__ const Verdict& verdict() const { return verdict_; }

  // The row after `num_before` drafts. Returns the token that it gives, or kNone.
  __device__ int AddRow(const Weights& target, int num_before) {
    if (num_before >= num_drafts_) return Finish(target);
    const ChosenDraft& draft = round_.drafts[sequence_.first_slot + num_before];
    const Weights proposal = {round_.proposals + int64_t{draft.proposal} * round_.vocab_size,
                              round_.proposal_totals[draft.proposal]};
    const double ratio = (target.values[draft.token] / target.total) /
                         (proposal.values[draft.token] / proposal.total);
    return round_.by_token ? AddByToken(target, proposal, ratio)
                           : AddToBlock(target, proposal, ratio, num_before);
  }

 private:
  __device__ double NextUniform() {
    return round_.uniforms[sequence_.uniforms.begin + num_drafts_ + verdict_.num_uniforms++];
  }

  __device__ int Sample(const Weights& target, double u) const {
    return FindIndex(
        round_.vocab_size, [&](int i) { return target.values[i]; }, u * target.total);
  }

  // A draw from max(reach p - q, 0), with a mass of `none` for no token.
  __device__ int DrawExcess(const Weights& target, double reach, const Weights& proposal,
                            double none, double u) const {
    const double p_scale = reach / target.total;
    const double q_scale = 1 / proposal.total;
    const auto excess = [&](int i) {
      const double difference = target.values[i] * p_scale - proposal.values[i] * q_scale;
      return difference > 0 ? difference : 0.0;
    };
    const double mass = SumOf(round_.vocab_size, excess);
    const double wanted = u * (mass + none);
    if (mass <= 0 || (none > 0 && wanted >= mass)) return ChosenTarget::kNone;
    return FindIndex(round_.vocab_size, excess, wanted);
  }

  __device__ int Finish(const Weights& target) {
    verdict_.is_final = 1;
    const double u = NextUniform();
    if (round_.by_token) return Sample(target, u);
    return u < verdict_.reach ? Sample(target, u / verdict_.reach) : ChosenTarget::kNone;
  }

  __device__ int AddToBlock(const Weights& target, const Weights& proposal, double ratio,
                            int num_before) {
    const double u = NextUniform();
    int token = DrawExcess(target, verdict_.reach, proposal, 1 - verdict_.reach, u);
    // The distributions differ by rounding at most, so that nothing is left to draw from.
    if (token == ChosenTarget::kNone && num_before == 0) token = Sample(target, u);
    verdict_.reach = min(1.0, verdict_.reach * ratio);
    if (!(verdict_.reach > 0)) verdict_.is_final = 1;
    return token;
  }

  __device__ int AddByToken(const Weights& target, const Weights& proposal, double ratio) {
    if (NextUniform() < ratio) return ChosenTarget::kNone;
    verdict_.is_final = 1;
    const double u = NextUniform();
    const int token = DrawExcess(target, 1, proposal, 0, u);
    return token != ChosenTarget::kNone ? token : Sample(target, u);
  }

  const DeviceRound& round_;
  const ChoiceSequence& sequence_;
  const int num_drafts_;
  Verdict verdict_;
};

__global__ void __launch_bounds__(kRowThreads, 1)
    VerifyKernel(DeviceRound round, const TargetChoice* choices, const VerifySpan* spans) {
  const VerifySpan span = spans[blockIdx.x];
  const TargetChoice first = choices[span.begin];
  const ChoiceSequence& sequence = round.sequences[first.sequence];
  const int num_drafts = CountDrafts(round, sequence, first.num_drafts);
  Verification verification(round, sequence, num_drafts,
                            first.num_before == 0 ? Verdict() : round.verdicts[first.sequence]);
  for (int i = span.begin; i < span.end && verification.verdict().is_final == 0; ++i) {
    ChosenTarget& chosen = round.targets[choices[i].target];
    if (chosen.is_finite == 0) break;  // the engine fails the request
    const Weights target = {round.weights + int64_t{i} * round.vocab_size, round.weight_totals[i]};
    const int token = verification.AddRow(target, choices[i].num_before);
    if (threadIdx.x == 0) {
      chosen.token = token;
      chosen.goes_on = verification.verdict().is_final == 0 ? 1 : 0;
    }
  }
  if (threadIdx.x == 0) round.verdicts[first.sequence] = verification.verdict();
}

__global__ void TakeDraftsKernel(const int32_t* slots, const ChosenDraft* drafts, int64_t rows,
                                 int32_t first_token, int32_t num_tokens, int32_t* token_ids) {
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= rows || slots[row] < 0) return;
  const int32_t token = drafts[slots[row]].token - first_token;
  token_ids[row] = token >= 0 && token < num_tokens ? token : -1;
}

__global__ void JoinPartsKernel(const float* parts, const int32_t* widths, int64_t widest,
                                int64_t width, float* whole) {
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t row = blockIdx.y;
  const int64_t rows = gridDim.y;
  const int64_t part = blockIdx.z;
  if (column >= widths[part]) return;
  int64_t first = 0;
  for (int64_t i = 0; i < part; ++i) first += widths[i];
  whole[row * width + first + column] = parts[part * rows * widest + row * widths[part] + column];
}

}  // namespace

void ChooseDrafts(cudaStream_t stream, const DeviceRound& round, const DeviceLogits& logits,
                  const DraftChoice* choices, int count) {
  if (count > 0) Launch(stream, Extent(count), kRowThreads, DraftKernel, round, logits, choices);
}

void ChooseTargets(cudaStream_t stream, const DeviceRound& round, const DeviceLogits& logits,
                   const TargetChoice* choices, int count) {
  if (count > 0) Launch(stream, Extent(count), kRowThreads, TargetKernel, round, logits, choices);
}

void VerifyDrafts(cudaStream_t stream, const DeviceRound& round, const TargetChoice* choices,
                  const VerifySpan* spans, int num_spans) {
  if (num_spans == 0) return;
  Launch(stream, Extent(num_spans), kRowThreads, VerifyKernel, round, choices, spans);
}

void TakeDrafts(cudaStream_t stream, const int32_t* slots, const ChosenDraft* drafts, int64_t rows,
                int32_t first_token, int32_t num_tokens, int32_t* token_ids) {
  if (rows == 0) return;
  Launch(stream, Extent(CeilDiv(rows, kThreads)), kThreads, TakeDraftsKernel, slots, drafts, rows,
         first_token, num_tokens, token_ids);
}

void JoinParts(cudaStream_t stream, const float* parts, const int32_t* widths, int num_parts,
               int64_t widest, int64_t rows, int64_t width, float* whole) {
  Launch(stream, Extent(CeilDiv(widest, kThreads), rows, num_parts), kThreads, JoinPartsKernel,
         parts, widths, widest, width, whole);
}

}  // namespace strata::kernels::cuda
