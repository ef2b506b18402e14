#include "server/request_defaults.h"

#include <algorithm>

#include "engine/tokenizer/tokenizer.h"

namespace strata::server {
namespace {

// Normalization may shorten a text before it is cut into tokens (a full-width
// character of 3 bytes becomes 1, runs of spaces may shrink).
constexpr size_t kNormalizationSlack = 4;

size_t LongestTokenBytes(const Tokenizer& tokenizer) {
  size_t longest = 1;
  for (int id = 0; id < tokenizer.vocab_size(); ++id) {
    // Special tokens stand for no bytes, but may be written out in a text.
    longest = std::max({longest, tokenizer.TokenBytes(id).size(), tokenizer.Piece(id).size()});
  }
  return longest;
}

}  // namespace

RequestDefaults MakeRequestDefaults(const GenerationDefaults& generation, const Options& options,
                                    const Speculation& fixed) {
  RequestDefaults defaults;
  defaults.sampling.temperature = generation.temperature.value_or(1.0f);
  defaults.sampling.top_p = generation.top_p.value_or(1.0f);
  defaults.sampling.top_k = generation.top_k.value_or(0);
  defaults.sampling.repetition_penalty = generation.repetition_penalty.value_or(1.0f);
  defaults.max_new_tokens = generation.max_new_tokens.value_or(options.default_max_new_tokens);
  defaults.speculation = options.speculation;
  defaults.exit_layer = fixed.exit_layer;
  defaults.num_draft_tokens = fixed.num_draft_tokens;
  return defaults;
}

RequestLimits MakeRequestLimits(const Engine& engine) {
  RequestLimits limits;
  limits.vocab_size = engine.checkpoint().config().vocab_size;
  limits.num_layers = engine.checkpoint().config().num_layers;
  limits.max_context = engine.max_context();
  limits.max_prompt_bytes = static_cast<size_t>(engine.max_context()) *
                            LongestTokenBytes(engine.tokenizer()) * kNormalizationSlack;
  return limits;
}

}  // namespace strata::server
