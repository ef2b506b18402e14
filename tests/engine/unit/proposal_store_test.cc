// Distributions, and where a round keeps those of its drafts.

#include "engine/proposal_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "engine/distribution.h"
#include "tests/engine/unit/chi_square.h"

namespace strata {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

// ---- Distribution ------------------------------------------------------------------------------

TEST(Distribution, SampleFromInvertsTheCumulativeDistribution) {
  const std::vector<TokenId> ids = {2, 5, 9};
  const std::vector<float> weights = {1, 0, 3};
  const Distribution distribution{ids, weights, 4};
  EXPECT_EQ(SampleFrom(distribution, 0), 2);
  EXPECT_EQ(SampleFrom(distribution, std::nextafter(0.25, 0)), 2);
  EXPECT_EQ(SampleFrom(distribution, 0.25), 9);
  EXPECT_EQ(SampleFrom(distribution, std::nextafter(1.0, 0)), 9);
}

TEST(Distribution, SampleFromNeverReturnsATokenWithoutMass) {
  const std::vector<TokenId> ids = {1, 2, 3};
  const std::vector<float> weights = {0.5f, 0.5f, 0};
  // The sum is less than it says, as rounding may leave it.
  EXPECT_EQ(SampleFrom({ids, weights, 1 + 1e-9}, std::nextafter(1.0, 0)), 2);
  const std::vector<float> late = {0, 0, 1};
  EXPECT_EQ(SampleFrom({ids, late, 1}, 0), 3);
}

TEST(Distribution, FrequenciesOfManyTokensFollowTheWeights) {
  std::mt19937_64 random(1);
  for (const int size : {255, 256, 257, 1505}) {
    std::vector<float> weights(size);
    double total = 0;
    for (float& weight : weights) total += weight = static_cast<float>(random() % 5);
    const Distribution distribution{{}, weights, total};
    std::vector<std::pair<double, int64_t>> cells;
    for (const float weight : weights) cells.emplace_back(weight / total, 0);
    std::uniform_real_distribution<double> unit(0, 1);
    for (int i = 0; i < 200'000; ++i) ++cells[SampleFrom(distribution, unit(random))].second;
    std::erase_if(cells, [](const auto& cell) {
      EXPECT_TRUE(cell.first > 0 || cell.second == 0);
      return cell.first == 0;
    });
    const ChiSquare chi_square = CompareCounts(cells);
    EXPECT_LT(chi_square.statistic, chi_square.Threshold()) << size;
  }
}

TEST(Distribution, ProbabilityIsZeroOutsideTheSupport) {
  const std::vector<TokenId> ids = {2, 5};
  const std::vector<float> weights = {1, 3};
  const Distribution some{ids, weights, 4}, all{{}, weights, 4};
  EXPECT_EQ(some.Probability(2), 0.25);
  EXPECT_EQ(some.Probability(5), 0.75);
  for (const TokenId id : {0, 1, 3, 6}) EXPECT_EQ(some.Probability(id), 0);
  EXPECT_EQ(all.Probability(1), 0.75);
  EXPECT_EQ(all.Probability(2), 0);
}

// ---- ProposalStore -----------------------------------------------------------------------------

TEST(ProposalStore, KeepsACopyUntilThereIsNoRoom) {
  ProposalStore store(3 * 16);
  std::vector<TokenId> ids = {1, 4};
  std::vector<float> weights = {0.5f, 1.5f};
  const std::optional<Distribution> kept = store.Keep({ids, weights, 2}, {});
  ASSERT_TRUE(kept);
  ids = {0, 0}, weights = {0, 0};
  EXPECT_THAT(kept->ids, ElementsAre(1, 4));
  EXPECT_THAT(kept->weights, ElementsAre(0.5f, 1.5f));
  EXPECT_EQ(kept->total, 2);
  EXPECT_TRUE(store.Keep({ids, weights, 2}, {}));
  EXPECT_TRUE(store.Keep({ids, weights, 2}, {}));
  EXPECT_FALSE(store.Keep({ids, weights, 2}, {}));
  store.Clear();
  EXPECT_TRUE(store.Keep({ids, weights, 2}, {}));
}

TEST(ProposalStore, SharedIdsTakeNoRoom) {
  ProposalStore store(16);
  const std::vector<TokenId> ids = {1, 4};
  const std::vector<float> weights = {0.5f, 1.5f};
  const std::optional<Distribution> first = store.Keep({ids, weights, 2}, ids);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->ids.data(), ids.data());
  // All tokens of a vocabulary are no list either.
  EXPECT_TRUE(store.Keep({{}, weights, 2}, {}));
  EXPECT_FALSE(store.Keep({{}, weights, 2}, {}));
}

TEST(ProposalStore, WithoutMemoryNothingIsKept) {
  ProposalStore store(0);
  const std::vector<float> weights = {1};
  EXPECT_FALSE(store.Keep({{}, weights, 1}, {}));
}

TEST(ProposalStore, AnyDistributionsStayAsTheyAreUpToTheLastByte) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    const int64_t max_bytes = static_cast<int64_t>(random() % 4000);
    ProposalStore store(max_bytes);
    for (int use = 0; use < 3; ++use, store.Clear()) {
      struct Kept {
        std::vector<TokenId> ids;
        std::vector<float> weights;
        Distribution copy;
      };
      std::deque<Kept> all;
      int64_t used = 0;
      for (int i = 0; i < 20; ++i) {
        Kept& entry = all.emplace_back();
        for (size_t n = 1 + random() % 100; n > 0; --n) {
          entry.ids.push_back(static_cast<TokenId>(random() % 1000));
          entry.weights.push_back(static_cast<float>(random() % 1000));
        }
        const bool shared = random() % 2 == 0;
        const int64_t bytes = static_cast<int64_t>(entry.ids.size()) * (shared ? 4 : 8);
        const auto kept = store.Keep({entry.ids, entry.weights, 1},
                                     shared ? entry.ids : std::span<const TokenId>());
        ASSERT_EQ(kept.has_value(), used + bytes <= max_bytes);
        if (!kept) {
          all.pop_back();
          continue;
        }
        used += bytes;
        entry.copy = *kept;
      }
      for (const Kept& entry : all) {
        ASSERT_THAT(entry.copy.ids, ElementsAreArray(entry.ids));
        ASSERT_THAT(entry.copy.weights, ElementsAreArray(entry.weights));
      }
    }
  }
}

}  // namespace
}  // namespace strata
