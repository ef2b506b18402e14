// The distributions that one round's drafts were drawn from, until verification
// needs them.

#ifndef STRATA_ENGINE_PROPOSAL_STORE_H_
#define STRATA_ENGINE_PROPOSAL_STORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "engine/distribution.h"

namespace strata {

// One arena of fixed size. Used from one thread at a time.
//
// A distribution takes 4 bytes for each token that truncation has left, 8 where it needs its own
// list of tokens: half a megabyte over all of a vocabulary of 128k, a few hundred bytes after
// top-p.
class ProposalStore {
 public:
  // Memory that is never used is never touched.
  explicit ProposalStore(int64_t max_bytes)
      : max_bytes_(static_cast<size_t>(max_bytes)),
        bytes_(std::make_unique_for_overwrite<std::byte[]>(max_bytes_)) {}

  // A copy, valid until Clear; nullopt: there is no room for it. `shared_ids` outlive the copy:
  // where `distribution.ids` are those very ones they are not copied.
  std::optional<Distribution> Keep(const Distribution& distribution,
                                   std::span<const TokenId> shared_ids);
  void Clear() { used_bytes_ = 0; }

 private:
  template <typename T>  // of 4 bytes, so that all that follows is aligned
  std::span<const T> Copy(std::span<const T> items);

  const size_t max_bytes_;
  const std::unique_ptr<std::byte[]> bytes_;
  size_t used_bytes_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_PROPOSAL_STORE_H_
