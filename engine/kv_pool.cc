#include "engine/kv_pool.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>

#include "engine/random.h"

namespace strata {

KvPool::KvPool(int num_blocks, bool keeps_prefixes)
    : keeps_prefixes_(keeps_prefixes),
      blocks_(num_blocks),
      buckets_(std::bit_ceil(2 * static_cast<size_t>(num_blocks) + 1), kNone) {
  empty_.reserve(num_blocks);
  for (int i = num_blocks - 1; i >= 0; --i) empty_.push_back(i);
}

int32_t KvPool::Allocate() {
  assert(num_available() > 0);
  if (empty_.empty()) {
    const int32_t oldest = oldest_;
    RemoveFromCached(oldest);
    Unpublish(oldest);
    empty_.push_back(oldest);
  }
  const int32_t block = empty_.back();
  empty_.pop_back();
  blocks_[block].references = 1;
  return block;
}

void KvPool::Release(int32_t block) {
  assert(blocks_[block].references > 0);
  if (--blocks_[block].references > 0) return;
  if (is_published(block) && keeps_prefixes_) return AddToCached(block);
  if (is_published(block)) Unpublish(block);
  empty_.push_back(block);
}

int32_t KvPool::Find(PrefixId parent, BlockTokens tokens) {
  const int32_t block = Lookup(parent, tokens);
  if (block != kNone && blocks_[block].references++ == 0) RemoveFromCached(block);
  return block;
}

int32_t KvPool::Publish(int32_t block, PrefixId parent, BlockTokens tokens) {
  assert(blocks_[block].references == 1 && !is_published(block));
  const int32_t same = Find(parent, tokens);
  if (same != kNone) {
    Release(block);
    return same;
  }
  Block& published = blocks_[block];
  published.id = ++last_id_;
  published.parent = parent;
  std::copy(tokens.begin(), tokens.end(), published.tokens.begin());
  int32_t& bucket = Bucket(parent, tokens);
  published.next_in_bucket = bucket;
  bucket = block;
  return block;
}

uint64_t KvPool::Hash(PrefixId parent, BlockTokens tokens) {
  uint64_t hash = parent;
  for (const TokenId id : tokens) {
    hash = (std::rotl(hash, 23) ^ static_cast<uint32_t>(id)) * 0x9e3779b97f4a7c15;
  }
  return Mix64(hash);
}

int32_t& KvPool::Bucket(PrefixId parent, BlockTokens tokens) {
  return buckets_[Hash(parent, tokens) & (buckets_.size() - 1)];
}

int32_t KvPool::Lookup(PrefixId parent, BlockTokens tokens) {
  int32_t block = Bucket(parent, tokens);
  while (block != kNone &&
         (blocks_[block].parent != parent ||
          !std::equal(tokens.begin(), tokens.end(), blocks_[block].tokens.begin()))) {
    block = blocks_[block].next_in_bucket;
  }
  return block;
}

void KvPool::Unpublish(int32_t block) {
  Block& published = blocks_[block];
  int32_t* link = &Bucket(published.parent, published.tokens);
  while (*link != block) link = &blocks_[*link].next_in_bucket;
  *link = published.next_in_bucket;
  published.id = 0;
}

void KvPool::AddToCached(int32_t block) {
  blocks_[block].older = newest_;
  blocks_[block].newer = kNone;
  (newest_ == kNone ? oldest_ : blocks_[newest_].newer) = block;
  newest_ = block;
  ++num_cached_;
}

void KvPool::RemoveFromCached(int32_t block) {
  const auto [older, newer] = std::pair(blocks_[block].older, blocks_[block].newer);
  (older == kNone ? oldest_ : blocks_[older].newer) = newer;
  (newer == kNone ? newest_ : blocks_[newer].older) = older;
  --num_cached_;
}

}  // namespace strata
