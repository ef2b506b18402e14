// Requests of the test models that the suites on emulated GPUs share.

#ifndef STRATA_TESTS_CUDA_SMALL_REQUESTS_H_
#define STRATA_TESTS_CUDA_SMALL_REQUESTS_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "tests/support/collecting_sink.h"

namespace strata {

inline std::vector<TokenId> RandomPrompt(int length, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> ids(length);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % 1500);
  return ids;
}

inline GenerateRequest GreedyRequest(std::vector<TokenId> prompt, int max_new_tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.stopping.max_new_tokens = max_new_tokens;
  request.stopping.ignore_eos = true;
  return request;
}

inline void Speculate(GenerateRequest& request, int exit_layer, int num_draft_tokens) {
  request.speculation.mode = Speculation::Mode::kFixed;
  request.speculation.exit_layer = exit_layer;
  request.speculation.num_draft_tokens = num_draft_tokens;
}

// To the bit.
inline void ExpectSame(const CollectedSample& actual, const CollectedSample& expected) {
  ASSERT_EQ(actual.token_ids, expected.token_ids);
  ASSERT_EQ(actual.logprobs.size(), expected.logprobs.size());
  for (size_t i = 0; i < expected.logprobs.size(); ++i) {
    ASSERT_EQ(actual.logprobs[i].logprob, expected.logprobs[i].logprob) << "token " << i;
  }
}

}  // namespace strata

#endif  // STRATA_TESTS_CUDA_SMALL_REQUESTS_H_
