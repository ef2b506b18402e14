// The special tokens around a prompt: tokenizer.json's "post_processor".

#ifndef STRATA_ENGINE_TOKENIZER_PROMPT_TEMPLATE_H_
#define STRATA_ENGINE_TOKENIZER_PROMPT_TEMPLATE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer.h"
#include "nlohmann/json.hpp"

namespace strata {

struct PromptTemplate {
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;
};

// From the contents of `source`: TemplateProcessing (its "single" form), ByteLevel (which changes
// no ids), a Sequence of them, or nothing. INVALID_ARGUMENT for others and for ids not below
// `num_tokens`.
absl::StatusOr<PromptTemplate> ReadPromptTemplate(const nlohmann::json& root,
                                                  const std::string& source, int num_tokens);

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_PROMPT_TEMPLATE_H_
