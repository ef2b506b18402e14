// Byte-pair encoding of one word.

#ifndef STRATA_ENGINE_TOKENIZER_BPE_MERGER_H_
#define STRATA_ENGINE_TOKENIZER_BPE_MERGER_H_

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace strata {

// Immutable once all merges are added; then safe to use from several threads.
class BpeMerger {
 public:
  void Reserve(size_t num_merges) { merges_.reserve(num_merges); }
  // The pair (left, right) becomes `merged`; pairs of lower rank go first. A
  // pair added again takes the later rank.
  void Add(TokenId left, TokenId right, int32_t rank, TokenId merged);

  // Replaces `symbols` (a word's bytes as tokens) by what is left when no merge applies. Ties go to
  // the leftmost pair. O(n log n) in the number of symbols.
  void Apply(std::vector<TokenId>& symbols) const;

 private:
  struct Merge {
    int32_t rank;
    TokenId merged;
  };
  class Word;

  const Merge* Find(TokenId left, TokenId right) const;

  std::unordered_map<uint64_t, Merge> merges_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_BPE_MERGER_H_
