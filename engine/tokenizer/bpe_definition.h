// What a tokenizer.json of kind byte-level BPE says, checked.

#ifndef STRATA_ENGINE_TOKENIZER_BPE_DEFINITION_H_
#define STRATA_ENGINE_TOKENIZER_BPE_DEFINITION_H_

#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/bpe_merger.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "nlohmann/json.hpp"

namespace strata {

struct BpeToken {
  std::string piece;  // as the file writes it; empty: the id is unused
  std::string bytes;  // what it stands for; empty for special tokens
  bool is_special = false;
};

struct BpeDefinition {
  std::vector<BpeToken> tokens;                        // by id
  std::unordered_map<std::string, TokenId> piece_ids;  // vocabulary and added tokens
  std::unordered_map<std::string, TokenId> word_ids;   // vocabulary only, by what it stands for
  size_t max_word_bytes = 0;                           // longest key of word_ids
  std::vector<TokenId> byte_ids;                       // 256; -1 for bytes that no UTF-8 text has
  BpeMerger merger;
  bool ignore_merges = false;  // a word that is a token as a whole needs no merging
  AddedTokens added_tokens;
  AddedTokens normalized_added_tokens;  // sought only where no other added token is
  PreTokenizer pre_tokenizer;
  std::vector<TokenId> prefix;  // around a prompt, from TemplateProcessing
  std::vector<TokenId> suffix;
};

// Reads `root`, the contents of `source`. INVALID_ARGUMENT names the file, the
// key, what was found and what is supported.
absl::StatusOr<BpeDefinition> ReadBpeDefinition(const nlohmann::json& root,
                                                const std::string& source, int vocab_size);

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_BPE_DEFINITION_H_
