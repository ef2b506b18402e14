#include "engine/block_table.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace strata {
namespace {

std::vector<TokenId> Tokens(int count) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(i * i % 97);
  return tokens;
}

// A table that has computed the first `count` tokens and published what is full.
BlockTable Computed(const std::vector<TokenId>& tokens, int count, KvPool& pool) {
  BlockTable table;
  table.Grow(count, pool);
  table.set_num_computed(count);
  table.Publish(tokens, pool);
  return table;
}

TEST(BlockTable, PublishesFullBlocksOnly) {
  KvPool pool(8);
  const std::vector<TokenId> tokens = Tokens(60);
  BlockTable table = Computed(tokens, 47, pool);
  EXPECT_EQ(table.num_published(), 2);
  table.Grow(48, pool);
  table.set_num_computed(48);
  table.Publish(tokens, pool);
  EXPECT_EQ(table.num_published(), 3);
}

TEST(BlockTable, AdoptsWhatAnotherHasPublishedUpToALimit) {
  KvPool pool(8);
  const std::vector<TokenId> tokens = Tokens(60);
  BlockTable first = Computed(tokens, 60, pool);
  for (const auto& [most, adopted] : {std::pair(15, 0), {16, 16}, {47, 32}, {48, 48}, {60, 48}}) {
    BlockTable second;
    EXPECT_EQ(second.Adopt(tokens, most, pool), adopted) << most;
    EXPECT_EQ(second.num_computed(), adopted);
    EXPECT_TRUE(std::equal(second.blocks().begin(), second.blocks().end(), first.blocks().begin()));
    second.Truncate(0, pool);
  }
  EXPECT_EQ(pool.num_used(), 4);
}

TEST(BlockTable, AdoptsWhereItHasComputedPartOfABlock) {
  KvPool pool(8);
  const std::vector<TokenId> tokens = Tokens(60);
  BlockTable slow = Computed(tokens, 20, pool);
  const int32_t own = slow.blocks()[1];
  BlockTable fast = Computed(tokens, 48, pool);
  EXPECT_EQ(slow.Adopt(tokens, 40, pool), 12) << "from 20 to the end of the second block";
  EXPECT_EQ(slow.blocks(), (std::vector<int32_t>{fast.blocks()[0], fast.blocks()[1]}));
  EXPECT_EQ(pool.num_references(own), 0);
}

TEST(BlockTable, TheSameBlockComputedTwiceIsKeptOnce) {
  KvPool pool(8);
  const std::vector<TokenId> tokens = Tokens(40);
  BlockTable first, second;
  for (BlockTable* table : {&first, &second}) {
    table->Grow(40, pool);
    table->set_num_computed(40);
  }
  EXPECT_EQ(pool.num_used(), 6);
  first.Publish(tokens, pool);
  second.Publish(tokens, pool);
  EXPECT_EQ(pool.num_used(), 4);
  EXPECT_EQ(first.blocks()[1], second.blocks()[1]);
  EXPECT_NE(first.blocks()[2], second.blocks()[2]);
}

TEST(BlockTable, RootsKeepPrefixesApart) {
  KvPool pool(8);
  const std::vector<TokenId> tokens = Tokens(40);
  BlockTable first = Computed(tokens, 40, pool);
  BlockTable second;
  second.set_root(KvPool::Root(1));
  EXPECT_EQ(second.Adopt(tokens, 40, pool), 0);
}

TEST(BlockTable, APublishedBlockIsNeverCut) {
  KvPool pool(8);
  const std::vector<TokenId> tokens = Tokens(60);
  BlockTable table = Computed(tokens, 60, pool);
  table.Truncate(55, pool);
  EXPECT_EQ(table.num_computed(), 55) << "within the last block, which is its own";
  table.Truncate(40, pool);
  EXPECT_EQ(table.num_computed(), 32) << "what is written next must not be in a published block";
  EXPECT_EQ(table.blocks().size(), 2u);
  EXPECT_EQ(table.num_published(), 2);
}

TEST(BlockTable, TablesThatComputeTheSameBlockNextHaveTheSameHash) {
  KvPool pool(8);
  std::vector<TokenId> tokens = Tokens(40);
  BlockTable first = Computed(tokens, 20, pool), second;
  second.Adopt(tokens, 16, pool);
  EXPECT_EQ(first.NextBlockHash(tokens, 39, pool), second.NextBlockHash(tokens, 39, pool));
  EXPECT_EQ(first.NextBlockHash(tokens, 31, pool), std::nullopt) << "it could not be adopted";
  std::vector<TokenId> others = tokens;
  ++others[31];
  EXPECT_NE(first.NextBlockHash(tokens, 39, pool), second.NextBlockHash(others, 39, pool));
  BlockTable anew;
  EXPECT_NE(first.NextBlockHash(tokens, 39, pool), anew.NextBlockHash(tokens, 39, pool));
}

}  // namespace
}  // namespace strata
