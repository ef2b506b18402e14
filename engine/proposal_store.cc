#include "engine/proposal_store.h"

#include <cstring>

namespace strata {

template <typename T>
std::span<const T> ProposalStore::Copy(std::span<const T> items) {
  static_assert(sizeof(T) == 4);
  std::byte* const copy = bytes_.get() + used_bytes_;
  std::memcpy(copy, items.data(), items.size_bytes());
  used_bytes_ += items.size_bytes();
  return {reinterpret_cast<const T*>(copy), items.size()};
}

std::optional<Distribution> ProposalStore::Keep(const Distribution& distribution,
                                                std::span<const TokenId> shared_ids) {
  const bool shares = distribution.ids.data() == shared_ids.data();
  const size_t needed_bytes =
      distribution.weights.size_bytes() + (shares ? 0 : distribution.ids.size_bytes());
  if (needed_bytes > max_bytes_ - used_bytes_) return std::nullopt;
  Distribution kept = distribution;
  kept.weights = Copy(distribution.weights);
  if (!shares) kept.ids = Copy(distribution.ids);
  return kept;
}

}  // namespace strata
