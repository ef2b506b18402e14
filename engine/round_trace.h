// What the last rounds did and how long each part took, for people who look into a running server.

#ifndef STRATA_ENGINE_ROUND_TRACE_H_
#define STRATA_ENGINE_ROUND_TRACE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace strata {

// One round. Times are in nanoseconds; its parts follow one another in the order in which they
// stand here.
struct RoundRecord {
  static constexpr size_t kMaxSequences = 32;

  struct Sequence {
    uint64_t request = 0;  // what Engine::Submit returned
    uint32_t num_rows =
        0;  // of the sweep, without those of drafts: more than one while it prefills
    uint8_t sample_index = 0;
    uint8_t num_drafts = 0;
    uint8_t num_accepted = 0;
    uint8_t num_committed = 0;  // accepted drafts and the model's own token
  };

  uint64_t number = 0;     // from 1
  int64_t start_ns = 0;    // after the trace's begin
  int64_t plan_ns = 0;     // choosing what runs
  int64_t draft_ns = 0;    // micro-steps: early layers, heads and sampling of drafts
  int64_t sweep_ns = 0;    // the layers of the full sweep
  int64_t verify_ns = 0;   // its heads, sampling, verification, commits
  int64_t probe_ns = 0;    // asking other exits what they would have drafted
  int64_t deliver_ns = 0;  // telling sinks, and whatever else follows the round
  uint32_t draft_micro_steps = 0;
  uint32_t num_sequences = 0;  // of which `sequences` has the first kMaxSequences
  uint32_t prefill_rows = 0;
  uint32_t decode_rows = 0;    // of the sweep, drafts included
  uint32_t cached_tokens = 0;  // positions taken over from the prefix cache
  uint32_t drafted_tokens = 0;
  uint32_t accepted_tokens = 0;
  uint32_t emitted_tokens = 0;
  uint32_t preemptions = 0;
  uint32_t padding = 0;
  std::array<Sequence, kMaxSequences> sequences;

  int64_t total_ns() const {
    return plan_ns + draft_ns + sweep_ns + verify_ns + probe_ns + deliver_ns;
  }
};

// The last rounds, in a ring of fixed size. One thread writes, without locks, allocation or waiting
// for readers; any number read.
class RoundTrace {
 public:
  static constexpr size_t kNumRounds = 1024;

  RoundTrace();

  // Overwrites the oldest. `record.number` is set here.
  void Add(const RoundRecord& record);

  // The last `max_rounds` rounds, the oldest first. Those that are overwritten meanwhile are left
  // out.
  std::vector<RoundRecord> Last(size_t max_rounds) const;

 private:
  static constexpr size_t kNumWords = sizeof(RoundRecord) / sizeof(uint64_t);

  // A sequence lock. Words are written with release and read with acquire order, so whoever has
  // read one of a later round sees that the version has changed.
  struct Slot {
    std::atomic<uint64_t> version{0};  // 2 * number of the round in it; odd while it is written
    std::array<std::atomic<uint64_t>, kNumWords> words{};
  };
  bool Read(uint64_t number, RoundRecord* record) const;

  const std::unique_ptr<std::array<Slot, kNumRounds>> slots_;
  std::atomic<uint64_t> num_rounds_{0};  // ever added
};

}  // namespace strata

#endif  // STRATA_ENGINE_ROUND_TRACE_H_
