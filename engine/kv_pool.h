// KV blocks, and the prefix cache: which of them hold keys and values that
// other sequences can use.
//
// A block is written by the one sequence that allocated it. Once all its
// positions are committed and of full depth it may be *published* under what
// determines its contents: its tokens and those before it. From then on it is
// never written, any number of sequences may refer to it, and after the last
// of them it stays *cached*: still to be found, and free to take where no
// empty block is left, the least recently used one first.
//
// A published block is known by the id of the block before it (its parent; the
// first has a root) and its own tokens. Ids are never used twice and tokens
// are compared, so what is found is right, not just likely: by induction a
// match is a match of all tokens from the root on.

#ifndef STRATA_ENGINE_KV_POOL_H_
#define STRATA_ENGINE_KV_POOL_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/tokenizer/tokenizer.h"
#include "kernels/backend.h"

namespace strata {

// The tokens of a block. [kernels::kKvBlockTokens]
using BlockTokens = std::span<const TokenId, kernels::kKvBlockTokens>;

// Names a sequence of blocks from its root to its last block.
using PrefixId = uint64_t;

// Used from one thread at a time. Allocates memory in its constructor only.
class KvPool {
 public:
  // Without `keeps_prefixes` a block can be found as long as a sequence refers to it, not longer.
  explicit KvPool(int num_blocks, bool keeps_prefixes = true);

  bool keeps_prefixes() const { return keeps_prefixes_; }
  int num_blocks() const { return static_cast<int>(blocks_.size()); }
  int num_used() const { return num_blocks() - num_available(); }  // referred to by sequences
  int num_cached() const { return num_cached_; }
  int num_available() const { return static_cast<int>(empty_.size()) + num_cached_; }

  // A block to write, with one reference. Forgets a cached one if none is empty.
  // REQUIRES: num_available() > 0.
  int32_t Allocate();
  // Takes back a reference. A sequence releases its last block first: so a block is never
  // forgotten before those that continue it.
  void Release(int32_t block);

  // The root of all prefixes of one `salt`: what has different salts never matches.
  static PrefixId Root(uint64_t salt) { return salt | kRootBit; }
  // REQUIRES: `block` is published.
  PrefixId id(int32_t block) const { return blocks_[block].id; }
  bool is_published(int32_t block) const { return blocks_[block].id != 0; }
  int num_references(int32_t block) const { return blocks_[block].references; }

  // Finds the published block with `tokens` after `parent` and adds a reference to it; -1: none.
  int32_t Find(PrefixId parent, BlockTokens tokens);
  // Publishes `block`, of which the caller holds the only reference. Where the same contents are
  // published already, the reference goes to that block, and `block` becomes empty. Returns the
  // block that the caller refers to from now on.
  int32_t Publish(int32_t block, PrefixId parent, BlockTokens tokens);

  // A hash of what Find compares.
  static uint64_t Hash(PrefixId parent, BlockTokens tokens);

 private:
  static constexpr PrefixId kRootBit = PrefixId{1} << 63;
  static constexpr int32_t kNone = -1;

  struct Block {
    int references = 0;
    PrefixId id = 0;  // 0: not published
    PrefixId parent = 0;
    std::array<TokenId, kernels::kKvBlockTokens> tokens;
    int32_t next_in_bucket = kNone;
    // Neighbours among the cached blocks, least recently used first.
    int32_t older = kNone, newer = kNone;
  };

  int32_t& Bucket(PrefixId parent, BlockTokens tokens);
  int32_t Lookup(PrefixId parent, BlockTokens tokens);
  void Unpublish(int32_t block);
  void AddToCached(int32_t block);
  void RemoveFromCached(int32_t block);

  const bool keeps_prefixes_;
  std::vector<Block> blocks_;
  std::vector<int32_t> empty_;
  std::vector<int32_t> buckets_;  // [a power of two] the first block of each, or kNone
  int32_t oldest_ = kNone, newest_ = kNone;
  int num_cached_ = 0;
  PrefixId last_id_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_KV_POOL_H_
