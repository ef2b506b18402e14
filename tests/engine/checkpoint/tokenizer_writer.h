// A tokenizer.json for checkpoints that need one and do not care which.

#ifndef STRATA_TESTS_ENGINE_CHECKPOINT_TOKENIZER_WRITER_H_
#define STRATA_TESTS_ENGINE_CHECKPOINT_TOKENIZER_WRITER_H_

#include <string>

#include "nlohmann/json.hpp"

namespace strata {

inline constexpr int kByteTokenizerSize = 258;

// Byte-level BPE without merges: byte b is id b, then the special tokens
// "<bos>", 256, put before prompts, and "<eos>", 257. Words are split by GPT-2's pattern.
nlohmann::json ByteTokenizerJson();
void WriteByteTokenizer(const std::string& folder);

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_CHECKPOINT_TOKENIZER_WRITER_H_
