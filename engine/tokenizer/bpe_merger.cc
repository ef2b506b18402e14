#include "engine/tokenizer/bpe_merger.h"

#include <algorithm>
#include <tuple>

namespace strata {
namespace {

constexpr int32_t kNone = -1;

uint64_t PairKey(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

// A word while it is merged: its symbols as a linked list over the original
// positions, and a heap of the pairs that could be merged. A heap entry is not
// removed when its pair is gone, only skipped.
class BpeMerger::Word {
 public:
  Word(const BpeMerger& merger, const std::vector<TokenId>& symbols) : merger_(merger) {
    const auto count = static_cast<int32_t>(symbols.size());
    nodes_.reserve(symbols.size());
    for (int32_t i = 0; i < count; ++i) {
      nodes_.push_back({symbols[i], i - 1, i + 1 < count ? i + 1 : kNone, true});
    }
    for (int32_t i = 0; i + 1 < count; ++i) Offer(i);
  }

  void MergeAll() {
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Candidate candidate = heap_.back();
      heap_.pop_back();
      if (IsCurrent(candidate)) MergeAt(candidate);
    }
  }

  void Write(std::vector<TokenId>& symbols) const {
    symbols.clear();
    for (int32_t i = 0; i != kNone; i = nodes_[i].next) symbols.push_back(nodes_[i].id);
  }

 private:
  struct Node {
    TokenId id;
    int32_t previous;
    int32_t next;
    bool is_alive;
  };
  struct Candidate {
    int32_t rank;
    int32_t position;  // of the left symbol
    TokenId merged;
    // std heaps keep the largest on top; the lowest rank, then the leftmost, goes first.
    bool operator<(const Candidate& other) const {
      return std::tie(rank, position) > std::tie(other.rank, other.position);
    }
  };

  // Puts the pair that starts at `position` into the heap if it has a merge.
  void Offer(int32_t position) {
    const Node& left = nodes_[position];
    const Merge* merge = merger_.Find(left.id, nodes_[left.next].id);
    if (merge == nullptr) return;
    heap_.push_back({merge->rank, position, merge->merged});
    std::push_heap(heap_.begin(), heap_.end());
  }

  // Compares what the pair would become, not its rank: as Hugging Face's tokenizers do it, and so a
  // part of the definition.
  bool IsCurrent(const Candidate& candidate) const {
    const Node& left = nodes_[candidate.position];
    if (!left.is_alive || left.next == kNone) return false;
    const Merge* merge = merger_.Find(left.id, nodes_[left.next].id);
    return merge != nullptr && merge->merged == candidate.merged;
  }

  void MergeAt(const Candidate& candidate) {
    Node& left = nodes_[candidate.position];
    Node& right = nodes_[left.next];
    left.id = candidate.merged;
    left.next = right.next;
    right.is_alive = false;
    if (left.next != kNone) nodes_[left.next].previous = candidate.position;
    if (left.previous != kNone) Offer(left.previous);
    if (left.next != kNone) Offer(candidate.position);
  }

  const BpeMerger& merger_;
  std::vector<Node> nodes_;
  std::vector<Candidate> heap_;
};

void BpeMerger::Add(TokenId left, TokenId right, int32_t rank, TokenId merged) {
  merges_.insert_or_assign(PairKey(left, right), Merge{rank, merged});
}

const BpeMerger::Merge* BpeMerger::Find(TokenId left, TokenId right) const {
  const auto it = merges_.find(PairKey(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

void BpeMerger::Apply(std::vector<TokenId>& symbols) const {
  if (symbols.size() < 2) return;
  Word word(*this, symbols);
  word.MergeAll();
  word.Write(symbols);
}

}  // namespace strata
