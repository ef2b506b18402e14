// The tokens that drafts are chosen among where the whole head costs too much
// (Llama 3: 128k tokens). Drafts are verified against the whole vocabulary, so
// this changes how many are accepted, never what is generated.

#ifndef STRATA_ENGINE_DRAFT_VOCABULARY_H_
#define STRATA_ENGINE_DRAFT_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace strata {

// The `size` tokens with the largest of `counts` [vocab_size], ascending. All of `always` are among
// them, even where those are more than `size`. Of equal counts the lower id: vocabularies are
// built, and numbered, from the most frequent pieces on.
std::vector<TokenId> MostFrequentTokens(std::span<const double> counts,
                                        std::span<const TokenId> always, int size);

// Learns which tokens the traffic uses. Used from one thread at a time.
//
// It chooses after kFirstChoice tokens, then after as many again as it has seen, so after 2, 4, 8
// times kFirstChoice, and from kMaxBetweenChoices on after every so many. At each choice what has
// been counted loses half its weight, so that the set follows the traffic.
class DraftVocabulary {
 public:
  static constexpr int64_t kFirstChoice = 1024;
  static constexpr int64_t kMaxBetweenChoices = 64 * 1024;

  // Sets of `size` tokens that hold all of `always`.
  DraftVocabulary(int vocab_size, int size, std::vector<TokenId> always);

  // Counts tokens of a prompt, or generated ones.
  void Count(std::span<const TokenId> ids);
  // The tokens to draft from now on, if it is time to choose and they differ from the last ones.
  std::optional<std::vector<TokenId>> ChooseIfDue();

 private:
  const int size_;
  const std::vector<TokenId> always_;
  std::vector<double> counts_;  // [vocab_size]
  int64_t num_counted_ = 0;
  int64_t next_choice_ = kFirstChoice;  // at that many counted
  std::vector<TokenId> chosen_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_DRAFT_VOCABULARY_H_
