// The step thread takes no memory in steady state: sequences that decode, with
// drafts or without, none of which begins or ends. Counted over everything but the backend:
// planning, drafting, sampling, verification, text, delivery to a sink that keeps nothing.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <ostream>
#include <string>

#include "bench/overhead.h"
#include "tests/support/test_models.h"

namespace {

// Tests here run on one thread.
int64_t num_allocations = 0;

void* Allocate(size_t size, size_t alignment) {
  ++num_allocations;
  const size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The other forms call these.
void* operator new(size_t size) { return Allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(size_t size, std::align_val_t alignment) {
  return Allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace strata::bench {
namespace {

struct Case {
  std::string name;
  IdleBackendLoop::Shape shape;
};
void PrintTo(const Case& value, std::ostream* out) { *out << value.name; }

Case Greedy(std::string name, int num_sequences, int num_drafts) {
  Case result{std::move(name), {num_sequences, num_drafts, {}}};
  result.shape.sampling.temperature = 0;
  return result;
}

Case Sampled(std::string name, int top_k) {
  Case result{std::move(name), {16, 3, {}}};
  result.shape.sampling.top_k = top_k;
  return result;
}

Case Seeded() {
  Case result = Sampled("Seeded_16x4", 40);
  result.shape.sampling.seed = 1;
  return result;
}

Case Auto(std::string name, int num_drafts) {
  Case result = Greedy(std::move(name), 16, num_drafts);
  result.shape.is_auto = true;
  return result;
}

class SteadyState : public testing::TestWithParam<Case> {};

TEST_P(SteadyState, RoundsTakeNoMemory) {
  const auto loop = IdleBackendLoop::Create(DemoModel(), GetParam().shape);
  ASSERT_TRUE(loop.ok()) << loop.status();
  // A sequence's buffer for text is as long as the longest that a round has given: sampled texts'
  // longest are not the first.
  for (int i = 0; i < 300; ++i) (*loop)->Step();
  const int64_t tokens_before = (*loop)->tokens_emitted();
  constexpr int kRounds = 100;
  const int64_t before = num_allocations;
  for (int i = 0; i < kRounds; ++i) (*loop)->Step();
  EXPECT_EQ(num_allocations, before);
  // There was work to do: a token for each sequence and round at least, all drafts if greedy.
  const auto& shape = GetParam().shape;
  const bool drafts_surely = shape.sampling.temperature == 0 && !shape.is_auto;
  const int per_sequence = drafts_surely ? 1 + shape.num_draft_tokens : 1;
  EXPECT_GE((*loop)->tokens_emitted() - tokens_before,
            int64_t{kRounds} * shape.num_sequences * per_sequence);
}

INSTANTIATE_TEST_SUITE_P(Engine, SteadyState,
                         testing::Values(Greedy("Greedy_256x1", 256, 0),
                                         Greedy("Greedy_64x4", 64, 3), Sampled("TopK_16x4", 40),
                                         Sampled("Untruncated_16x4", 0), Seeded(),
                                         Auto("AutoOff_16x1", 0), Auto("Auto_16x4", 3)),
                         [](const auto& info) { return info.param.name; });

TEST(Allocations, AreCounted) {
  const int64_t before = num_allocations;
  const auto number = std::make_unique<int>(3);
  EXPECT_EQ(*number, 3);
  EXPECT_EQ(num_allocations, before + 1);
}

}  // namespace
}  // namespace strata::bench
