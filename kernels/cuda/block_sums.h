// What all threads of a block find out together about a row: sums, the largest, and where a running
// sum passes a number. For .cu files. All threads call these with the same arguments, but where it
// says "own", and get the same result. What threads have written to memory before, all see after.

#ifndef STRATA_KERNELS_CUDA_BLOCK_SUMS_H_
#define STRATA_KERNELS_CUDA_BLOCK_SUMS_H_

#include <cstdint>

#include "kernels/cuda/device_language.h"

namespace strata::kernels::cuda {

constexpr int kRowThreads = 512;
constexpr int kRowWarps = kRowThreads / kWarp;
// In which FindIndex cuts a row, at most.
constexpr int kSegments = 256;

__device__ __forceinline__ double WarpSum(double value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kWholeWarp, value, distance);
  }
  return value;
}

// The sum of the threads' own values, by a tree of fixed shape.
__device__ inline double BlockSum(double value) {
  STRATA_SHARED(double, sums, kRowWarps);
  value = WarpSum(value);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = value;
  __syncthreads();
  double total = 0;
#pragma unroll 1
  for (int i = 0; i < kRowWarps; ++i) total += sums[i];
  __syncthreads();  // before they are written again
  return total;
}

struct Scored {
  double score = -INFINITY;
  int32_t index = INT32_MAX;
};

// The larger score; the lower index of equals.
__device__ __forceinline__ Scored Better(const Scored& a, const Scored& b) {
  return b.score > a.score || (b.score == a.score && b.index < a.index) ? b : a;
}

// The best of the threads' own. REQUIRES: no score is NaN.
__device__ inline Scored BlockBest(Scored own) {
  STRATA_SHARED(double, scores, kRowWarps);
  STRATA_SHARED(int32_t, indices, kRowWarps);
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const double score = __shfl_xor_sync(kWholeWarp, own.score, distance);
    const int32_t index = __shfl_xor_sync(kWholeWarp, own.index, distance);
    own = Better(own, {score, index});
  }
  if (threadIdx.x % kWarp == 0) {
    scores[threadIdx.x / kWarp] = own.score;
    indices[threadIdx.x / kWarp] = own.index;
  }
  __syncthreads();
  Scored best;
#pragma unroll 1
  for (int i = 0; i < kRowWarps; ++i) best = Better(best, {scores[i], indices[i]});
  __syncthreads();
  return best;
}

// The sum of measure(i), i in [0, width).
template <typename Measure>
__device__ double SumOf(int width, Measure measure) {
  double sum = 0;
  for (int i = threadIdx.x; i < width; i += kRowThreads) sum += measure(i);
  return BlockSum(sum);
}

// The first index at which the sum of measure(0), measure(1), ... exceeds `wanted`, one whose
// measure is positive; where rounding leaves the sum below, the last such index; 0 if there is
// none. Measures are not negative.
template <typename Measure>
__device__ int FindIndex(int width, Measure measure, double wanted) {
  STRATA_SHARED(double, sums, kSegments);
  STRATA_SHARED(int, found, 1);
  const int lane = threadIdx.x % kWarp;
  const int length = (width + kSegments * kWarp - 1) / (kSegments * kWarp) * kWarp;
  const int num_segments = (width + length - 1) / length;
  for (int segment = threadIdx.x / kWarp; segment < num_segments; segment += kRowWarps) {
    double sum = 0;
    for (int i = lane; i < length; i += kWarp) {
      const int index = segment * length + i;
      if (index < width) sum += measure(index);
    }
    sum = WarpSum(sum);
    if (lane == 0) sums[segment] = sum;
  }
  __syncthreads();
  if (threadIdx.x < kWarp) {
    // The segment in which it is passed, or the last one with any.
    double before = 0;
    double before_last = 0;
    int last = 0;
#pragma unroll 1
    for (int segment = 0; segment < num_segments; ++segment) {
      if (!(sums[segment] > 0)) continue;
      last = segment;
      before_last = before;
      before += sums[segment];
      if (before > wanted) break;
    }
    // Term by term. Another rounding may take it into the next segments.
    double sum = before_last;
    int best = 0;
    bool passed = false;
    for (int first = last * length; first < width && !passed; first += kWarp) {
      const double own = first + lane < width ? static_cast<double>(measure(first + lane)) : 0.0;
#pragma unroll 1
      for (int i = 0; i < kWarp; ++i) {
        const double term = __shfl_sync(kWholeWarp, own, i);
        if (passed || !(term > 0)) continue;
        best = first + i;
        sum += term;
        passed = sum > wanted;
      }
    }
    if (lane == 0) *found = best;
  }
  __syncthreads();
  const int result = *found;
  __syncthreads();
  return result;
}

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_BLOCK_SUMS_H_
