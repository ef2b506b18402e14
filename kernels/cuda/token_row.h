// A row of logits as a block of kRowThreads sees it, and what truncation leaves of it. For .cu
// files; rules as of block_sums.h.

#ifndef STRATA_KERNELS_CUDA_TOKEN_ROW_H_
#define STRATA_KERNELS_CUDA_TOKEN_ROW_H_

#include <cstdint>

#include "kernels/choice_math.h"
#include "kernels/chooser.h"
#include "kernels/cuda/block_sums.h"
#include "kernels/cuda/device_language.h"

namespace strata::kernels::cuda {

// The first i in [0, count) that is not before what is looked for; `count` if all are.
template <typename IsBefore>
__device__ __forceinline__ int LowerBound(int count, IsBefore is_before) {
  int first = 0;
  while (count > 0) {
    const int half = count / 2;
    if (is_before(first + half)) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return first;
}

struct TokenRow {
  const float* values;  // [width]
  const int32_t* ids;   // [width], ascending; null: column i is token i
  int width;

  __device__ int32_t IdAt(int column) const { return ids == nullptr ? column : ids[column]; }
  // -1: it has none.
  __device__ int ColumnOf(int32_t id) const {
    if (ids == nullptr) return id;
    const int column = LowerBound(width, [&](int i) { return ids[i] < id; });
    return column < width && ids[column] == id ? column : -1;
  }
  // Whether all are numbers up to kLargestLogit.
  __device__ bool IsFinite() const {
    return SumOf(width, [&](int i) { return fabsf(values[i]) <= kLargestLogit ? 0 : 1; }) == 0;
  }
  // The column of the largest, the first of equals.
  __device__ int Best() const {
    Scored own;
    for (int i = threadIdx.x; i < width; i += kRowThreads) own = Better(own, {values[i], i});
    return BlockBest(own).index;
  }
};

// Logits after temperature.
struct ScaledRow {
  TokenRow tokens;
  float scale;
  float largest;  // after temperature

  __device__ float Logit(int column) const { return tokens.values[column] * scale; }
  __device__ float Weight(int column) const { return FastExp(Logit(column) - largest); }
};

// Integers in the order of the numbers. 0 and -0 are equal.
__device__ __forceinline__ uint32_t OrderedBits(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}
__device__ __forceinline__ float FromOrderedBits(uint32_t bits) {
  return __uint_as_float(bits ^ ((bits >> 31) != 0 ? 0x80000000u : 0xffffffffu));
}

// The tokens that truncation leaves. They are the most likely ones, the lower ids of equals.
struct Support {
  uint32_t least = 0;            // OrderedBits of the least logit among them
  int32_t last_tie = INT32_MAX;  // column of the last one that has that logit
  float min_weight = 0;

  __device__ bool Holds(const ScaledRow& row, int column) const {
    const uint32_t bits = OrderedBits(row.Logit(column));
    return (bits > least || (bits == least && column <= last_tie)) &&
           (min_weight == 0 || row.Weight(column) >= min_weight);
  }
};

// As few of the most likely tokens of `within` as have a measure of `wanted` together, which is
// positive, and no more than all have. The measure of a column is a function of its logit.
template <typename Measure>
__device__ Support MostLikely(const ScaledRow& row, const Support& within, Measure measure,
                              double wanted) {
  const auto mass_from = [&](uint32_t least) {
    return SumOf(row.tokens.width, [&](int i) {
      return OrderedBits(row.Logit(i)) >= least && within.Holds(row, i) ? measure(row.Logit(i))
                                                                        : 0.0;
    });
  };
  // Few tokens usually have it, so the least logit is looked for near the largest first.
  uint32_t low = 0;
  for (float distance = 4.0f; distance < 100.0f; distance *= 2.0f) {
    const uint32_t least = OrderedBits(row.largest - distance);
    if (mass_from(least) < wanted) continue;
    low = least;
    break;
  }
  // Those from `low` on have it, those beyond `high` have not.
  uint32_t high = OrderedBits(row.largest);
  while (low < high) {
    const uint32_t middle = high - (high - low) / 2;
    if (mass_from(middle) >= wanted) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  // Of those that have the least logit only so many.
  const auto ties = [&](int i) {
    return OrderedBits(row.Logit(i)) == low && within.Holds(row, i) ? 1.0 : 0.0;
  };
  const double num_ties = SumOf(row.tokens.width, ties);
  const double each = measure(FromOrderedBits(low));
  double mass = low == UINT32_MAX ? 0 : mass_from(low + 1);
  double num_kept = 0;
  for (; mass < wanted && num_kept < num_ties; ++num_kept) mass += each;
  Support support = within;
  support.least = low;
  if (num_kept < num_ties) {
    support.last_tie = FindIndex(row.tokens.width, ties, num_kept - 1);
  } else if (low != within.least) {
    support.last_tie = INT32_MAX;
  }
  return support;
}

// What top-k, then top-p, then min-p leave.
__device__ inline Support Truncate(const ScaledRow& row, const ChoiceSequence& sequence) {
  Support support;
  const auto one = [](float) { return 1.0; };
  const auto weight = [&](float logit) {
    return static_cast<double>(FastExp(logit - row.largest));
  };
  if (sequence.top_k > 0 && sequence.top_k < row.tokens.width) {
    support = MostLikely(row, support, one, sequence.top_k);
  }
  if (sequence.top_p < 1.0f) {
    const double mass = SumOf(row.tokens.width, [&](int i) {
      return support.Holds(row, i) ? weight(row.Logit(i)) : 0.0;
    });
    support = MostLikely(row, support, weight, mass * sequence.top_p);
  }
  support.min_weight = sequence.min_p;
  return support;
}

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_TOKEN_ROW_H_
