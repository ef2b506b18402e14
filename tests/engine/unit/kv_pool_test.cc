#include "engine/kv_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace strata {
namespace {

using Tokens = std::array<TokenId, kernels::kKvBlockTokens>;

Tokens Filled(TokenId id) {
  Tokens tokens;
  tokens.fill(id);
  return tokens;
}

// A published block after `parent`, with one reference.
int32_t Make(KvPool& pool, PrefixId parent, TokenId id) {
  return pool.Publish(pool.Allocate(), parent, Filled(id));
}

TEST(KvPool, GivesEachBlockOnceAndCountsThem) {
  KvPool pool(3);
  std::set<int32_t> blocks;
  for (int i = 0; i < 3; ++i) blocks.insert(pool.Allocate());
  EXPECT_EQ(blocks, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool.num_available(), 0);
  EXPECT_EQ(pool.num_used(), 3);
  pool.Release(1);
  EXPECT_EQ(pool.num_used(), 2);
  EXPECT_EQ(pool.num_cached(), 0);
  EXPECT_EQ(pool.Allocate(), 1);
}

TEST(KvPool, FindsWhatIsPublishedWhetherUsedOrNot) {
  KvPool pool(3);
  const PrefixId root = KvPool::Root(0);
  const int32_t first = Make(pool, root, 7);
  const int32_t second = Make(pool, pool.id(first), 8);
  EXPECT_EQ(pool.Find(root, Filled(7)), first);
  EXPECT_EQ(pool.num_references(first), 2);
  pool.Release(first);
  pool.Release(second);
  pool.Release(first);
  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_EQ(pool.num_cached(), 2);
  EXPECT_EQ(pool.Find(root, Filled(7)), first);
  EXPECT_EQ(pool.Find(pool.id(first), Filled(8)), second);
  EXPECT_EQ(pool.num_used(), 2);
  EXPECT_EQ(pool.num_cached(), 0);
}

TEST(KvPool, FindsNothingElse) {
  KvPool pool(3);
  const int32_t first = Make(pool, KvPool::Root(0), 7);
  EXPECT_EQ(pool.Find(KvPool::Root(1), Filled(7)), -1) << "another root";
  EXPECT_EQ(pool.Find(pool.id(first), Filled(7)), -1) << "another parent";
  Tokens other = Filled(7);
  other.back() = 6;
  EXPECT_EQ(pool.Find(KvPool::Root(0), other), -1) << "other tokens";
}

TEST(KvPool, ForgetsTheLeastRecentlyUsedAndOnlyForWantOfAnEmptyBlock) {
  KvPool pool(4);
  const PrefixId root = KvPool::Root(0);
  for (const TokenId id : {1, 2, 3}) pool.Release(Make(pool, root, id));
  pool.Release(pool.Find(root, Filled(1)));  // used again: 2 is the oldest now
  EXPECT_EQ(pool.num_available(), 4);
  const int32_t empty = pool.Allocate();
  EXPECT_EQ(pool.num_cached(), 3) << "there was an empty block";
  pool.Allocate();
  EXPECT_EQ(pool.num_cached(), 2);
  EXPECT_EQ(pool.Find(root, Filled(2)), -1);
  pool.Allocate();
  EXPECT_EQ(pool.Find(root, Filled(3)), -1);
  EXPECT_GE(pool.Find(root, Filled(1)), 0);
  EXPECT_EQ(pool.num_available(), 0);
  pool.Release(empty);
  EXPECT_EQ(pool.Allocate(), empty);
}

TEST(KvPool, AForgottenParentsBlockDoesNotAnswerForIt) {
  KvPool pool(1);
  const int32_t block = Make(pool, KvPool::Root(0), 1);
  const PrefixId parent = pool.id(block);
  pool.Release(block);
  EXPECT_EQ(Make(pool, KvPool::Root(0), 2), block);
  EXPECT_NE(pool.id(block), parent) << "an id is never used twice";
}

TEST(KvPool, TheSameContentsArePublishedOnce) {
  KvPool pool(3);
  const int32_t first = Make(pool, KvPool::Root(0), 7);
  const int32_t again = pool.Allocate();
  EXPECT_EQ(pool.Publish(again, KvPool::Root(0), Filled(7)), first);
  EXPECT_EQ(pool.num_references(first), 2);
  EXPECT_EQ(pool.num_used(), 1) << "the second block is empty again";
}

TEST(KvPool, WithoutCacheOnlyWhatIsUsedCanBeFound) {
  KvPool pool(2, /*keeps_prefixes=*/false);
  const PrefixId root = KvPool::Root(0);
  const int32_t block = Make(pool, root, 7);
  EXPECT_EQ(pool.Find(root, Filled(7)), block);
  pool.Release(block);
  pool.Release(block);
  EXPECT_EQ(pool.num_cached(), 0);
  EXPECT_EQ(pool.Find(root, Filled(7)), -1);
}

// A simple pool that does the same: prefixes are whole strings, and ages are counted.
class Reference {
 public:
  using Prefix = std::vector<TokenId>;  // one token stands for a block of it

  explicit Reference(int num_blocks) : num_blocks_(num_blocks) {}

  int num_used() const { return static_cast<int>(used_.size()) + unpublished_; }
  int num_cached() const { return static_cast<int>(cached_.size()); }
  bool Holds(const Prefix& prefix) const {
    return used_.contains(prefix) || cached_.contains(prefix);
  }
  void Allocate() {
    ++unpublished_;
    if (num_used() + num_cached() <= num_blocks_) return;
    const auto oldest =
        std::min_element(cached_.begin(), cached_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    for (const auto& [prefix, age] : cached_) {
      const bool continues = prefix.size() > oldest->first.size() &&
                             std::equal(oldest->first.begin(), oldest->first.end(), prefix.begin());
      EXPECT_FALSE(continues) << "forgotten before what continues it";
    }
    cached_.erase(oldest);
  }
  void Publish(const Prefix& prefix) {
    --unpublished_;
    Use(prefix);
  }
  void Use(const Prefix& prefix) {
    cached_.erase(prefix);
    ++used_[prefix];
  }
  void Release(const Prefix& prefix) {
    if (--used_.at(prefix) > 0) return;
    used_.erase(prefix);
    cached_[prefix] = ++now_;
  }
  void ReleaseUnpublished() { --unpublished_; }

 private:
  const int num_blocks_;
  std::map<Prefix, int> used_;    // references
  std::map<Prefix, int> cached_;  // when they were released
  int unpublished_ = 0;
  int now_ = 0;
};

// Owns a chain of blocks, as a sequence does.
struct Chain {
  std::vector<int32_t> blocks;
  Reference::Prefix prefix;  // of the published ones; at most one more block is unpublished
};

TEST(KvPool, DoesWhatASimpleReferenceDoes) {
  std::mt19937_64 random(1);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  int found = 0, forgotten = 0;
  for (int world = 0; world < 300; ++world) {
    const int num_blocks = 1 + pick(12);
    KvPool pool(num_blocks);
    Reference reference(num_blocks);
    std::vector<Chain> chains(4);
    for (int step = 0; step < 300; ++step) {
      Chain& chain = chains[pick(4)];
      const PrefixId parent =
          chain.prefix.empty() ? KvPool::Root(0) : pool.id(chain.blocks[chain.prefix.size() - 1]);
      Reference::Prefix next = chain.prefix;
      next.push_back(pick(2));
      if (pick(8) == 0) {  // ends, last block first
        if (chain.blocks.size() > chain.prefix.size()) {
          pool.Release(chain.blocks.back());
          chain.blocks.pop_back();
          reference.ReleaseUnpublished();
        }
        for (; !chain.blocks.empty(); chain.blocks.pop_back(), chain.prefix.pop_back()) {
          pool.Release(chain.blocks.back());
          reference.Release(chain.prefix);
        }
      } else if (chain.blocks.size() > chain.prefix.size()) {
        chain.blocks.back() = pool.Publish(chain.blocks.back(), parent, Filled(next.back()));
        reference.Publish(next);
        chain.prefix = next;
      } else if (const bool holds = reference.Holds(next); pick(2) == 0 || holds) {
        const int32_t block = pool.Find(parent, Filled(next.back()));
        ASSERT_EQ(block >= 0, holds);
        if (block < 0) continue;
        ++found;
        reference.Use(next);
        chain.blocks.push_back(block);
        chain.prefix = next;
      } else if (pool.num_available() > 0) {
        const int cached = pool.num_cached();
        chain.blocks.push_back(pool.Allocate());
        reference.Allocate();
        forgotten += cached - pool.num_cached();
      }
      ASSERT_EQ(pool.num_used(), reference.num_used());
      ASSERT_EQ(pool.num_cached(), reference.num_cached());
    }
  }
  EXPECT_GT(found, 1'000);
  EXPECT_GT(forgotten, 1'000);
}

}  // namespace
}  // namespace strata
