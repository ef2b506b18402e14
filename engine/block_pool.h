// Free list of equal things known by their index, such as exit-cache rows.

#ifndef STRATA_ENGINE_BLOCK_POOL_H_
#define STRATA_ENGINE_BLOCK_POOL_H_

#include <cassert>
#include <cstdint>
#include <vector>

namespace strata {

// Used from one thread at a time.
class BlockPool {
 public:
  explicit BlockPool(int num_blocks) : in_use_(num_blocks, false) {
    free_.reserve(num_blocks);
    for (int i = num_blocks - 1; i >= 0; --i) free_.push_back(i);
  }

  int num_blocks() const { return static_cast<int>(in_use_.size()); }
  int num_free() const { return static_cast<int>(free_.size()); }
  int num_used() const { return num_blocks() - num_free(); }

  // REQUIRES: num_free() > 0.
  int32_t Allocate() {
    assert(!free_.empty());
    const int32_t block = free_.back();
    free_.pop_back();
    in_use_[block] = true;
    return block;
  }

  // REQUIRES: `block` is in use.
  void Free(int32_t block) {
    assert(in_use_[block]);
    in_use_[block] = false;
    free_.push_back(block);
  }

 private:
  std::vector<int32_t> free_;
  std::vector<bool> in_use_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_BLOCK_POOL_H_
