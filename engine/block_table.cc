#include "engine/block_table.h"

#include <algorithm>
#include <cstddef>

namespace strata {
namespace {

using kernels::kKvBlockTokens;

// REQUIRES: all of its tokens are there.
BlockTokens TokensOf(int block_index, std::span<const TokenId> tokens) {
  return tokens.subspan(static_cast<size_t>(block_index) * kKvBlockTokens).first<kKvBlockTokens>();
}

}  // namespace

int BlockTable::BlocksFor(int num_positions) {
  return (num_positions + kKvBlockTokens - 1) / kKvBlockTokens;
}

int BlockTable::NumBlocksMissing(int num_positions) const {
  return std::max(0, BlocksFor(num_positions) - static_cast<int>(blocks_.size()));
}

void BlockTable::Grow(int num_positions, KvPool& pool) {
  for (int missing = NumBlocksMissing(num_positions); missing > 0; --missing) {
    blocks_.push_back(pool.Allocate());
  }
}

void BlockTable::Truncate(int num_positions, KvPool& pool) {
  // A published block is all or nothing.
  if (num_positions < num_published_ * kKvBlockTokens) {
    num_positions -= num_positions % kKvBlockTokens;
  }
  const size_t needed = static_cast<size_t>(BlocksFor(num_positions));
  while (blocks_.size() > needed) {
    pool.Release(blocks_.back());
    blocks_.pop_back();
  }
  num_computed_ = std::min(num_computed_, num_positions);
  num_published_ = std::min(num_published_, num_computed_ / kKvBlockTokens);
}

PrefixId BlockTable::ParentOf(int block_index, const KvPool& pool) const {
  return block_index == 0 ? root_ : pool.id(blocks_[block_index - 1]);
}

int BlockTable::Adopt(std::span<const TokenId> tokens, int most, KvPool& pool) {
  const int before = num_computed_;
  while ((num_published_ + 1) * kKvBlockTokens <= most) {
    const int index = num_published_;
    const int32_t found = pool.Find(ParentOf(index, pool), TokensOf(index, tokens));
    if (found < 0) break;
    // Takes the place of a block that has been computed in part, or that was to be.
    if (index < static_cast<int>(blocks_.size())) {
      pool.Release(blocks_[index]);
      blocks_[index] = found;
    } else {
      blocks_.push_back(found);
    }
    ++num_published_;
    num_computed_ = std::max(num_computed_, num_published_ * kKvBlockTokens);
  }
  return num_computed_ - before;
}

void BlockTable::Publish(std::span<const TokenId> tokens, KvPool& pool) {
  for (; (num_published_ + 1) * kKvBlockTokens <= num_computed_; ++num_published_) {
    int32_t& block = blocks_[num_published_];
    block = pool.Publish(block, ParentOf(num_published_, pool), TokensOf(num_published_, tokens));
  }
}

std::optional<uint64_t> BlockTable::NextBlockHash(std::span<const TokenId> tokens, int most,
                                                  const KvPool& pool) const {
  if ((num_published_ + 1) * kKvBlockTokens > most) return std::nullopt;
  return KvPool::Hash(ParentOf(num_published_, pool), TokensOf(num_published_, tokens));
}

}  // namespace strata
