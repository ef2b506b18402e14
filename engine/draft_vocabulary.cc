#include "engine/draft_vocabulary.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>
#include <utility>

namespace strata {

std::vector<TokenId> MostFrequentTokens(std::span<const double> counts,
                                        std::span<const TokenId> always, int size) {
  std::vector<double> ranks(counts.begin(), counts.end());
  for (const TokenId id : always) ranks[id] = std::numeric_limits<double>::infinity();
  const auto num_always =
      std::count(ranks.begin(), ranks.end(), std::numeric_limits<double>::infinity());
  std::vector<TokenId> ids(counts.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto end = ids.begin() + std::max<ptrdiff_t>(size, num_always);
  std::nth_element(ids.begin(), end, ids.end(), [&](TokenId a, TokenId b) {
    return ranks[a] != ranks[b] ? ranks[a] > ranks[b] : a < b;
  });
  ids.erase(end, ids.end());
  std::sort(ids.begin(), ids.end());
  return ids;
}

DraftVocabulary::DraftVocabulary(int vocab_size, int size, std::vector<TokenId> always)
    : size_(size), always_(std::move(always)), counts_(vocab_size) {}

void DraftVocabulary::Count(std::span<const TokenId> ids) {
  for (const TokenId id : ids) ++counts_[id];
  num_counted_ += static_cast<int64_t>(ids.size());
}

std::optional<std::vector<TokenId>> DraftVocabulary::ChooseIfDue() {
  if (num_counted_ < next_choice_) return std::nullopt;
  next_choice_ = num_counted_ + std::min(num_counted_, kMaxBetweenChoices);
  std::vector<TokenId> ids = MostFrequentTokens(counts_, always_, size_);
  for (double& count : counts_) count /= 2;
  if (ids == chosen_) return std::nullopt;
  chosen_ = ids;
  return ids;
}

}  // namespace strata
