#include "server/response_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <string>

namespace strata::server {
namespace {

v1::Delta MakeDelta(int first_id, int num_tokens, bool drafted) {
  v1::Delta delta;
  for (int i = 0; i < num_tokens; ++i) {
    delta.add_token_ids(first_id + i);
    *delta.mutable_text() += static_cast<char>('a' + (first_id + i) % 26);
    delta.add_logprobs()->set_token_id(first_id + i);
  }
  v1::TokenRun* run = delta.add_runs();
  run->set_num_tokens(num_tokens);
  run->set_text_bytes(num_tokens);
  run->set_drafted(drafted);
  return delta;
}

// Sums of a delta's runs, which must be those of its tokens and text.
void ExpectConsistent(const v1::Delta& delta) {
  int tokens = 0;
  size_t bytes = 0;
  for (const v1::TokenRun& run : delta.runs()) {
    tokens += static_cast<int>(run.num_tokens());
    bytes += run.text_bytes();
  }
  EXPECT_EQ(tokens, delta.token_ids_size());
  EXPECT_EQ(bytes, delta.text().size());
  EXPECT_EQ(delta.logprobs_size(), delta.token_ids_size());
}

TEST(ResponseQueue, PassesEventsOnInOrder) {
  ResponseQueue queue("id");
  queue.PushStarted(0, v1::Started());
  queue.PushDelta(0, MakeDelta(0, 1, false));
  queue.PushFinished(0, v1::Finished());
  auto response = queue.Pop();
  EXPECT_EQ(response->request_id(), "id");
  EXPECT_TRUE(response->has_started());
  EXPECT_TRUE(queue.Pop()->has_delta());
  EXPECT_TRUE(queue.Pop()->has_finished());
  EXPECT_FALSE(queue.Pop().has_value());
}

TEST(ResponseQueue, MeltsWaitingDeltasIntoOne) {
  ResponseQueue queue("id");
  queue.PushDelta(0, MakeDelta(0, 2, true));
  queue.PushDelta(0, MakeDelta(2, 1, true));
  queue.PushDelta(0, MakeDelta(3, 1, false));
  ASSERT_EQ(queue.size(), 1u);
  const v1::Delta delta = queue.Pop()->delta();
  EXPECT_EQ(delta.text(), "abcd");
  ASSERT_EQ(delta.runs_size(), 2);
  EXPECT_EQ(delta.runs(0).num_tokens(), 3u);
  ExpectConsistent(delta);
}

TEST(ResponseQueue, KeepsSamplesApart) {
  ResponseQueue queue("id");
  queue.PushDelta(0, MakeDelta(0, 1, false));
  queue.PushDelta(1, MakeDelta(5, 1, false));
  queue.PushDelta(0, MakeDelta(1, 1, false));
  ASSERT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.Pop()->delta().text(), "ab");
  EXPECT_EQ(queue.Pop()->sample_index(), 1u);
}

TEST(ResponseQueue, LeavesDraftsOutForASlowReader) {
  ResponseQueue queue("id");
  queue.PushDraft(0, v1::Draft());
  queue.PushDraft(0, v1::Draft());
  queue.PushDelta(0, MakeDelta(0, 1, false));
  queue.PushDraft(0, v1::Draft());
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_TRUE(queue.Pop()->has_draft());
  EXPECT_TRUE(queue.Pop()->has_delta());
  queue.PushDraft(0, v1::Draft());
  EXPECT_TRUE(queue.Pop()->has_draft());
}

TEST(ResponseQueue, ExtendsWhatIsNotWrittenYet) {
  ResponseQueue queue("id");
  queue.PushDelta(0, MakeDelta(0, 1, false));
  std::optional<v1::GenerateResponse> first = queue.Pop();
  queue.PushDelta(0, MakeDelta(1, 1, false));
  queue.PushDelta(1, MakeDelta(5, 1, false));
  queue.PushDelta(0, MakeDelta(2, 1, false));
  queue.Extend(&*first);
  EXPECT_EQ(first->delta().text(), "abc");
  EXPECT_EQ(first->delta().token_ids_size(), 3);
  ExpectConsistent(first->delta());
  queue.Extend(&*first);
  EXPECT_EQ(first->delta().text(), "abc") << "the next is another sample's";
  EXPECT_EQ(queue.Pop()->sample_index(), 1u);
  EXPECT_TRUE(queue.empty());
}

TEST(ResponseQueue, ExtendsByNothingButDeltasNorBeyondTheLargest) {
  ResponseQueue queue("id");
  queue.PushDelta(0, MakeDelta(0, ResponseQueue::kMaxDeltaTokens, false));
  std::optional<v1::GenerateResponse> full = queue.Pop();
  queue.PushDelta(0, MakeDelta(0, 1, false));
  queue.Extend(&*full);
  EXPECT_EQ(full->delta().token_ids_size(), ResponseQueue::kMaxDeltaTokens);
  std::optional<v1::GenerateResponse> delta = queue.Pop();
  queue.PushDraft(0, v1::Draft());
  queue.PushDelta(0, MakeDelta(1, 1, false));
  queue.Extend(&*delta);
  EXPECT_EQ(delta->delta().token_ids_size(), 1) << "the draft comes first";
  std::optional<v1::GenerateResponse> draft = queue.Pop();
  ASSERT_TRUE(draft->has_draft());
  queue.Extend(&*draft);
  EXPECT_TRUE(draft->has_draft());
  EXPECT_EQ(queue.size(), 1u);
}

// Whatever the reader's pace: everything arrives, once, in order, in messages
// of bounded size, and what waits is bounded by the tokens.
TEST(ResponseQueue, DeliversAllAtAnyPace) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto roll = [&](int n) { return static_cast<int>(random() % n); };
    const int samples = 1 + roll(3);
    const int pace = 1 + roll(40);
    ResponseQueue queue("id");
    std::map<int, int> sent;
    std::map<int, v1::Delta> received;
    const auto read = [&] {
      const auto response = queue.Pop();
      if (!response || !response->has_delta()) return;
      ExpectConsistent(response->delta());
      EXPECT_LE(response->delta().token_ids_size(), ResponseQueue::kMaxDeltaTokens + 33);
      MergeDelta(response->delta(), &received[static_cast<int>(response->sample_index())]);
    };
    for (int step = 0; step < 300; ++step) {
      const int sample = roll(samples);
      queue.PushDraft(sample, v1::Draft());
      const int tokens = 1 + roll(33);
      queue.PushDelta(sample, MakeDelta(sent[sample], tokens, roll(2) == 0));
      sent[sample] += tokens;
      int total = 0;
      for (const auto& [index, count] : sent) total += count;
      EXPECT_LE(queue.size(),
                static_cast<size_t>(total / ResponseQueue::kMaxDeltaTokens + 2 * samples));
      if (roll(pace) == 0) read();
    }
    while (!queue.empty()) read();
    for (const auto& [sample, count] : sent) {
      ASSERT_EQ(received[sample].token_ids_size(), count);
      for (int i = 0; i < count; ++i) {
        ASSERT_EQ(received[sample].token_ids(i), static_cast<uint32_t>(i));
        ASSERT_EQ(received[sample].text()[i], static_cast<char>('a' + i % 26));
      }
    }
  }
}

}  // namespace
}  // namespace strata::server
