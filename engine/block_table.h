// Which KV blocks hold the positions of one sequence.

#ifndef STRATA_ENGINE_BLOCK_TABLE_H_
#define STRATA_ENGINE_BLOCK_TABLE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/kv_pool.h"

namespace strata {

// Positions [0, num_computed) have keys and values of full depth. The leading num_published()
// blocks may be shared and are never written; all of them lie below num_computed. Those after
// them belong to this table alone. `tokens` are always the sequence's committed tokens.
class BlockTable {
 public:
  int num_computed() const { return num_computed_; }
  void set_num_computed(int num_computed) { num_computed_ = num_computed; }
  int num_published() const { return num_published_; }
  const std::vector<int32_t>& blocks() const { return blocks_; }
  // What published blocks begin with. Set before any is.
  void set_root(PrefixId root) { root_ = root; }

  static int BlocksFor(int num_positions);
  // Makes room in this table, not in the pool.
  void Reserve(int num_positions) { blocks_.reserve(BlocksFor(num_positions)); }
  // Blocks to allocate before positions [0, num_positions) can be written.
  int NumBlocksMissing(int num_positions) const;
  // REQUIRES: enough available blocks.
  void Grow(int num_positions, KvPool& pool);
  // Gives back what lies beyond positions [0, num_positions). Where these end within a published
  // block, it goes as well.
  void Truncate(int num_positions, KvPool& pool);

  // Refers to the published blocks that continue this table, of the first `most` tokens, instead
  // of computing them. Returns by how many positions num_computed has grown.
  int Adopt(std::span<const TokenId> tokens, int most, KvPool& pool);
  // Publishes the blocks that are full by now.
  void Publish(std::span<const TokenId> tokens, KvPool& pool);
  // Equal for two tables that have to compute the same block next, within the first `most` tokens.
  std::optional<uint64_t> NextBlockHash(std::span<const TokenId> tokens, int most,
                                        const KvPool& pool) const;

 private:
  PrefixId ParentOf(int block_index, const KvPool& pool) const;

  PrefixId root_ = KvPool::Root(0);
  std::vector<int32_t> blocks_;
  int num_computed_ = 0;
  int num_published_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_BLOCK_TABLE_H_
