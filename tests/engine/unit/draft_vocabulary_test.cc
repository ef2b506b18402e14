#include "engine/draft_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

namespace strata {
namespace {

using testing::ElementsAre;
using testing::Optional;

constexpr int64_t kFirst = DraftVocabulary::kFirstChoice;
constexpr int64_t kMost = DraftVocabulary::kMaxBetweenChoices;

TEST(MostFrequentTokens, AreAscendingAndTiesGoToTheLowerId) {
  const std::vector<double> counts = {0, 5, 1, 0, 7, 1, 0};
  EXPECT_THAT(MostFrequentTokens(counts, {}, 1), ElementsAre(4));
  EXPECT_THAT(MostFrequentTokens(counts, {}, 3), ElementsAre(1, 2, 4));
  EXPECT_THAT(MostFrequentTokens(counts, {}, 5), ElementsAre(0, 1, 2, 4, 5));
  EXPECT_THAT(MostFrequentTokens(counts, {}, 7), ElementsAre(0, 1, 2, 3, 4, 5, 6));
}

TEST(MostFrequentTokens, HoldTheOnesThatAlwaysBelong) {
  const std::vector<double> counts = {9, 8, 7, 0, 0};
  const std::vector<TokenId> always = {4, 3, 4};
  EXPECT_THAT(MostFrequentTokens(counts, always, 3), ElementsAre(0, 3, 4));
  EXPECT_THAT(MostFrequentTokens(counts, always, 1), ElementsAre(3, 4));
}

TEST(MostFrequentTokens, AreThoseThatSortingGives) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    std::vector<double> counts(300);
    for (double& count : counts) count = static_cast<double>(random() % 20);
    const int size = 1 + static_cast<int>(random() % 299);
    std::vector<TokenId> order(counts.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<TokenId>(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](TokenId a, TokenId b) { return counts[a] > counts[b]; });
    order.resize(size);
    std::sort(order.begin(), order.end());
    ASSERT_EQ(MostFrequentTokens(counts, {}, size), order);
  }
}

TEST(DraftVocabulary, ChoosesOnceItHasSeenEnough) {
  DraftVocabulary vocabulary(100, 3, {7});
  EXPECT_EQ(vocabulary.ChooseIfDue(), std::nullopt);
  vocabulary.Count(std::vector<TokenId>(kFirst - 2, 50));
  vocabulary.Count(std::vector<TokenId>{60});
  EXPECT_EQ(vocabulary.ChooseIfDue(), std::nullopt);
  vocabulary.Count(std::vector<TokenId>{60});
  EXPECT_THAT(vocabulary.ChooseIfDue(), Optional(ElementsAre(7, 50, 60)));
  EXPECT_EQ(vocabulary.ChooseIfDue(), std::nullopt);
}

TEST(DraftVocabulary, ChoosesSeldomerAndSeldomer) {
  DraftVocabulary vocabulary(100, 1, {});
  std::vector<int64_t> chosen_at;
  for (int64_t seen = 1; seen <= 4 * kMost; ++seen) {
    // A token of their own for each stretch, so that every choice differs from the last.
    vocabulary.Count(std::vector<TokenId>{static_cast<TokenId>(chosen_at.size())});
    if (vocabulary.ChooseIfDue()) chosen_at.push_back(seen);
  }
  std::vector<int64_t> expected;
  for (int64_t at = kFirst; at <= kMost; at *= 2) expected.push_back(at);
  for (int64_t at = 2 * kMost; at <= 4 * kMost; at += kMost) expected.push_back(at);
  EXPECT_EQ(chosen_at, expected);
}

TEST(DraftVocabulary, SaysNothingWhereTheTokensAreTheSame) {
  DraftVocabulary vocabulary(100, 2, {});
  vocabulary.Count(std::vector<TokenId>(kFirst, 3));
  EXPECT_THAT(vocabulary.ChooseIfDue(), Optional(ElementsAre(0, 3)));
  vocabulary.Count(std::vector<TokenId>(kFirst, 3));
  EXPECT_EQ(vocabulary.ChooseIfDue(), std::nullopt);
}

TEST(DraftVocabulary, FollowsTheTraffic) {
  DraftVocabulary vocabulary(100, 1, {});
  vocabulary.Count(std::vector<TokenId>(kMost, 10));
  EXPECT_THAT(vocabulary.ChooseIfDue(), Optional(ElementsAre(10)));
  // What was counted first has half its weight left.
  vocabulary.Count(std::vector<TokenId>(kMost * 2 / 5, 20));
  vocabulary.Count(std::vector<TokenId>(kMost - kMost * 2 / 5, 30));
  EXPECT_THAT(vocabulary.ChooseIfDue(), Optional(ElementsAre(30)));
}

}  // namespace
}  // namespace strata
