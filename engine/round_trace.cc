#include "engine/round_trace.h"

#include <algorithm>
#include <bit>
#include <type_traits>

namespace strata {

static_assert(std::has_unique_object_representations_v<RoundRecord>, "padding would be copied");

RoundTrace::RoundTrace() : slots_(std::make_unique<std::array<Slot, kNumRounds>>()) {}

void RoundTrace::Add(const RoundRecord& record) {
  const uint64_t number = num_rounds_.load(std::memory_order_relaxed) + 1;
  auto words = std::bit_cast<std::array<uint64_t, kNumWords>>(record);
  static_assert(offsetof(RoundRecord, number) == 0);
  words[0] = number;
  Slot& slot = (*slots_)[number % kNumRounds];
  slot.version.store(2 * number - 1, std::memory_order_relaxed);
  for (size_t i = 0; i < kNumWords; ++i) slot.words[i].store(words[i], std::memory_order_release);
  slot.version.store(2 * number, std::memory_order_release);
  num_rounds_.store(number, std::memory_order_release);
}

bool RoundTrace::Read(uint64_t number, RoundRecord* record) const {
  const Slot& slot = (*slots_)[number % kNumRounds];
  if (slot.version.load(std::memory_order_acquire) != 2 * number) return false;
  std::array<uint64_t, kNumWords> words;
  for (size_t i = 0; i < kNumWords; ++i) words[i] = slot.words[i].load(std::memory_order_acquire);
  if (slot.version.load(std::memory_order_relaxed) != 2 * number) return false;
  *record = std::bit_cast<RoundRecord>(words);
  return true;
}

std::vector<RoundRecord> RoundTrace::Last(size_t max_rounds) const {
  const uint64_t last = num_rounds_.load(std::memory_order_acquire);
  const uint64_t count = std::min<uint64_t>({last, max_rounds, kNumRounds});
  std::vector<RoundRecord> records;
  records.reserve(count);
  for (uint64_t number = last - count + 1; number <= last; ++number) {
    RoundRecord record;
    if (Read(number, &record)) records.push_back(record);
  }
  return records;
}

}  // namespace strata
