#include "engine/block_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>
#include <random>
#include <set>

namespace strata {
namespace {

TEST(BlockPool, GivesEachBlockOnceAndCountsThem) {
  BlockPool pool(3);
  EXPECT_EQ(pool.num_blocks(), 3);
  EXPECT_EQ(pool.num_free(), 3);
  std::set<int32_t> blocks;
  for (int i = 0; i < 3; ++i) blocks.insert(pool.Allocate());
  EXPECT_EQ(blocks, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_EQ(pool.num_used(), 3);
}

TEST(BlockPool, AFreedBlockComesBack) {
  BlockPool pool(2);
  const int32_t first = pool.Allocate();
  pool.Allocate();
  pool.Free(first);
  EXPECT_EQ(pool.num_used(), 1);
  EXPECT_EQ(pool.Allocate(), first);
}

TEST(BlockPool, NeverGivesABlockThatIsInUse) {
  BlockPool pool(20);
  std::set<int32_t> in_use;
  std::mt19937_64 random(1);
  for (int step = 0; step < 10'000; ++step) {
    if (pool.num_free() > 0 && (in_use.empty() || random() % 2 == 0)) {
      const int32_t block = pool.Allocate();
      ASSERT_TRUE(block >= 0 && block < 20);
      ASSERT_TRUE(in_use.insert(block).second);
    } else {
      const auto it = std::next(in_use.begin(), static_cast<int64_t>(random() % in_use.size()));
      pool.Free(*it);
      in_use.erase(it);
    }
    ASSERT_EQ(pool.num_used(), static_cast<int>(in_use.size()));
  }
}

}  // namespace
}  // namespace strata
