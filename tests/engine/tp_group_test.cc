// A model over several ranks: what each rank holds, that the group is one model, and how it ends
// when a rank goes wrong. What it computes is compared in goldens_test and equal_tokens_test.

#include "engine/model/tp_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/model/rank_threads.h"
#include "kernels/cpu/cpu_ranks.h"
#include "tests/fakes/faulty_rank.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::chrono::minutes kLong{5};
constexpr std::chrono::milliseconds kShort{200};

ModelLimits SmallLimits() {
  ModelLimits limits;
  limits.max_rows = 64;
  limits.max_exit_rows = 16;
  limits.max_logit_rows = 8;
  limits.max_context = 64;
  limits.num_kv_blocks = 32;
  return limits;
}

// ---- One model --------------------------------------------------------------------------------

TEST(TpGroup, HeadsOfSomeTokensHaveTheSameBitsAsTheWholeHead) {
  for (const kernels::WeightFormat weights : kernels::kCpuWeightFormats) {
    const auto model = OpenGroup(TinyModel(), {"", weights, 1, 4});
    const int vocab = model->config().vocab_size;
    EXPECT_EQ(model->head().num_tokens, vocab);
    EXPECT_TRUE(model->head().token_ids.empty());
    const std::vector<int32_t> rows = {2, 0, 3};
    model->Forward(OneSequence({5, 9, 1400, 77}, 0, {0, 6}));
    const float* whole = model->Logits(rows, model->head());
    const std::vector<float> expected(whole, whole + rows.size() * vocab);
    std::vector<int32_t> all(vocab);
    std::iota(all.begin(), all.end(), 0);
    // Of all ranks, of the last rank alone, at ranks' borders, all.
    for (const std::vector<int32_t>& ids :
         std::vector<std::vector<int32_t>>{{0, 3, 500, 1100, 1504},
                                           {1503, 1504},
                                           {375, 376, 377, 751, 752, 753, 1127, 1128, 1129},
                                           all}) {
      auto head = model->SelectTokens(ids);
      ASSERT_TRUE(head.ok()) << head.status();
      EXPECT_EQ(head->token_ids, ids);
      ASSERT_EQ(head->num_tokens, static_cast<int>(ids.size()));
      const float* logits = model->Logits(rows, *head);
      for (size_t row = 0; row < rows.size(); ++row) {
        for (size_t i = 0; i < ids.size(); ++i) {
          ASSERT_EQ(logits[row * ids.size() + i], expected[row * vocab + ids[i]])
              << "row " << row << ", token " << ids[i];
        }
      }
    }
  }
}

TEST(TpGroup, CountsWorkOnceAndLogitsOfAllRanks) {
  const auto model = OpenGroup(TinyModel(), {"", kernels::WeightFormat::kF32, 1, 2});
  model->Forward(OneSequence({1, 2, 3}, 0, {0, 6}));
  model->Forward(OneSequence({4}, 3, {0, 2}));
  EXPECT_EQ(model->row_layers(), 3 * 6 + 2);
  const std::vector<int32_t> row = {0};
  auto head = model->SelectTokens({7, 8, 9});
  ASSERT_TRUE(head.ok());
  model->Logits(row, *head);
  model->Logits(row, model->head());
  EXPECT_EQ(model->head_rows(), 2);
  EXPECT_EQ(model->logits_computed(), 3 + 1505);
}

TEST(TpGroup, KvBlocksAreCountedWithTheirCopies) {
  const ModelConfig config = Checkpoint::Open(TinyModel()).value()->config();
  const auto bytes = [&](int num_ranks) {
    return KvBlockBytesOfRanks(config, kernels::CreateCpuRanks({kernels::WeightFormat::kF32, 1, ""},
                                                               num_ranks, kLong))
        .value();
  };
  EXPECT_EQ(bytes(2), bytes(1));
  EXPECT_EQ(bytes(4), 2 * bytes(1));  // two heads of keys and values, each on two ranks
}

// ---- What goes wrong --------------------------------------------------------------------------

// Ranks of which one has a fault.
std::vector<kernels::RankDevice> Ranks(int count, int faulty, const Fault& fault,
                                       std::chrono::milliseconds timeout) {
  auto ranks = kernels::CreateCpuRanks({kernels::WeightFormat::kF32, 1, ""}, count, timeout);
  ranks[faulty] = MakeFaulty(std::move(ranks[faulty]), fault);
  return ranks;
}

// Calls `action` at the n-th operation of that name, counted from 1.
Fault AtNth(std::string name, int n, std::function<void()> action) {
  auto count = std::make_shared<std::atomic<int>>(0);
  return [=, action = std::move(action)](const std::string& operation) {
    if (operation == name && ++*count == n) action();
  };
}

// Holds the ranks that come to it until it is released, at its end at the latest.
class Hold {
 public:
  ~Hold() { Release(); }
  // May be called when the Hold is gone.
  std::function<void()> action() const {
    return [released = released_] { released.wait(); };
  }
  void Release() {
    if (!std::exchange(done_, true)) release_.set_value();
  }

 private:
  std::promise<void> release_;
  std::shared_future<void> released_ = release_.get_future().share();
  bool done_ = false;
};

template <typename Error>
std::function<void()> Throws(const std::string& what) {
  return [what] { throw Error(what); };
}

absl::StatusOr<std::unique_ptr<TpGroup>> OpenFaulty(int count, int faulty, const Fault& fault,
                                                    std::chrono::milliseconds timeout = kLong) {
  return TpGroup::Create(*Checkpoint::Open(TinyModel()), Ranks(count, faulty, fault, timeout),
                         SmallLimits(), timeout);
}

std::string ForwardError(TpGroup& model) {
  try {
    model.Forward(OneSequence({1, 2, 3}, 0, {0, 6}));
    return "";
  } catch (const kernels::CommunicatorError& error) {
    return error.what();
  }
}

std::string LogitsError(TpGroup& model) {
  try {
    model.Logits(std::vector<int32_t>{0}, model.head());
    return "";
  } catch (const kernels::CommunicatorError& error) {
    return error.what();
  }
}

TEST(TpGroupFailing, OneRankWithoutMemoryEndsLoading) {
  for (const char* operation : {"LoadMatrix", "LoadGatedMatrix", "Allocate", "CreateKvCache"}) {
    const auto group =
        OpenFaulty(2, 1, AtNth(operation, 1, Throws<kernels::DeviceError>("no room for 5 bytes")));
    EXPECT_EQ(group.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(std::string(group.status().message()),
              "rank 1 of 2: loading the model: no room for 5 bytes")
        << operation;
  }
  const auto group = OpenFaulty(4, 2, AtNth("LoadMatrix", 5, [] { throw std::bad_alloc(); }));
  EXPECT_EQ(std::string(group.status().message()), "rank 2 of 4: loading the model: out of memory");
}

TEST(TpGroupFailing, OneRankThatDoesNotComeEndsLoading) {
  const Hold hold;
  const auto group = OpenFaulty(2, 1, AtNth("Barrier", 3, hold.action()), kShort);
  EXPECT_THAT(std::string(group.status().message()),
              HasSubstr("rank 1 has not joined Barrier within 200 ms of rank 0"));
}

TEST(TpGroupFailing, ALostDeviceEndsTheGroup) {
  auto group =
      OpenFaulty(4, 3, AtNth("PagedAttention", 4, Throws<kernels::DeviceError>("device lost")));
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ(ForwardError(**group), "rank 3: device lost");
  // For good.
  EXPECT_EQ(ForwardError(**group), "rank 3: device lost");
  EXPECT_EQ(LogitsError(**group), "rank 3: device lost");
  EXPECT_EQ(std::string((*group)->SelectTokens({1}).status().message()), "rank 3: device lost");
}

// A rank that hangs, in an operation or before a collective: the others wait in vain.
TEST(TpGroupFailing, ARankThatDoesNotComeIsNamedAndLeftBehind) {
  for (const char* operation : {"GatedMatMul", "AllReduceSum"}) {
    Hold hold;
    std::atomic<bool> back = false;
    {
      auto group = OpenFaulty(2, 1,
                              AtNth(operation, 2,
                                    [&back, wait = hold.action()] {
                                      wait();
                                      back = true;
                                    }),
                              kShort);
      ASSERT_TRUE(group.ok()) << group.status();
      EXPECT_THAT(ForwardError(**group), AllOf(StartsWith("rank 1 has not joined AllReduceSum of"),
                                               HasSubstr("within 200 ms of rank 0")));
    }
    // The group is gone, and the rank comes back to what it was doing.
    EXPECT_FALSE(back);
    hold.Release();
    while (!back) std::this_thread::yield();
  }
}

// Where there is no collective to miss it in.
TEST(TpGroupFailing, ARankThatDoesNotFinishIsNamed) {
  const Hold hold;
  auto group = OpenFaulty(2, 0, AtNth("ReadBack", 2, hold.action()), kShort);
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ(ForwardError(**group), "");
  EXPECT_EQ(LogitsError(**group), "");
  EXPECT_EQ(LogitsError(**group), "rank 0 has not finished within 200 ms of the others");
}

// Without memory for a part of it a head is refused; the group goes on.
TEST(TpGroupFailing, NoMemoryForSomeTokensIsNotTheEnd) {
  auto group = OpenFaulty(2, 1, AtNth("SelectRows", 1, Throws<kernels::DeviceError>("no room")));
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ((*group)->SelectTokens({3, 1500}).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ForwardError(**group), "");
  EXPECT_TRUE((*group)->SelectTokens({3, 1500}).ok());
}

TEST(TpGroupFailing, IndivisibleModelsAreRefused) {
  const auto group = OpenFaulty(3, 0, [](const std::string&) {});
  EXPECT_EQ(group.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(group.status().message()),
            "the model cannot be split over 3 ranks: it has 4 heads, 2 heads of keys and values "
            "and an MLP of 160; it can be over 1, 2, 4");
}

// ---- The engine over ranks --------------------------------------------------------------------

absl::StatusOr<std::unique_ptr<Engine>> OpenFaultyEngine(int count, int faulty, const Fault& fault,
                                                         std::chrono::milliseconds timeout) {
  EngineOptions options = TestEngineOptions();
  options.rank_timeout = timeout;
  auto checkpoint = Checkpoint::Open(TinyModel());
  auto tokenizer = Tokenizer::Open(TinyModel(), (*checkpoint)->config().vocab_size);
  return Engine::Create(*std::move(checkpoint), *std::move(tokenizer),
                        Ranks(count, faulty, fault, timeout), options, nullptr, nullptr);
}

GenerateRequest LongRequest() {
  GenerateRequest request;
  request.prompt = std::vector<TokenId>{1, 2, 3};
  request.stopping.max_new_tokens = 200;
  request.stopping.ignore_eos = true;
  request.speculation.mode = Speculation::Mode::kFixed;
  request.speculation.exit_layer = 2;
  request.speculation.num_draft_tokens = 3;
  return request;
}

TEST(EngineOverRanks, EndsItsRequestsWithTheReason) {
  const Hold hold;
  const std::vector<std::pair<Fault, std::string>> faults = {
      {AtNth("RmsNorm", 300, Throws<kernels::DeviceError>("device lost")), "rank 1: device lost"},
      {AtNth("AllReduceSum", 200, hold.action()), "rank 1 has not joined AllReduceSum"},
  };
  for (const auto& [fault, reason] : faults) {
    // How many operations the start takes depends on the machine: it measures what they cost.
    const auto serving = std::make_shared<std::atomic<bool>>(false);
    const Fault once_serving = [serving, fault = fault](const std::string& operation) {
      if (*serving) fault(operation);
    };
    auto engine = OpenFaultyEngine(2, 1, once_serving, kShort);
    ASSERT_TRUE(engine.ok()) << engine.status();
    EXPECT_TRUE((*engine)->failure().ok());
    *serving = true;
    std::vector<std::shared_ptr<CollectingSink>> sinks;
    for (int i = 0; i < 3; ++i) {
      sinks.push_back(std::make_shared<CollectingSink>());
      ASSERT_TRUE((*engine)->Submit(LongRequest(), sinks.back()).ok());
    }
    for (const auto& sink : sinks) {
      const absl::Status status = sink->Wait();
      EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
      EXPECT_THAT(std::string(status.message()), HasSubstr(reason));
      EXPECT_EQ(sink->times_done(), 1);
    }
    EXPECT_THAT(std::string((*engine)->failure().message()),
                AllOf(StartsWith("the engine has failed: "), HasSubstr(reason)));
    EXPECT_EQ((*engine)->Submit(LongRequest(), sinks[0]).status().code(),
              absl::StatusCode::kUnavailable);
    EXPECT_TRUE((*engine)->WaitUntilIdle(Instant::max()));
    EXPECT_EQ((*engine)->GetLoad().kv_blocks_used, 0);
  }
}

TEST(EngineOverRanks, SaysSo) {
  const auto engine =
      OpenEngine(TinyModel(), {"", kernels::WeightFormat::kF32, 4, 2}, TestEngineOptions());
  EXPECT_EQ(engine->num_ranks(), 2);
  EXPECT_THAT(engine->backend_description(),
              AllOf(StartsWith("2 ranks of cpu "), HasSubstr(", 2 threads, f32 weights")));
}

TEST(EngineOverRanks, CancelledRequestsLeaveNothing) {
  const auto engine =
      OpenEngine(TinyModel(), {"", kernels::WeightFormat::kF32, 2, 2}, TestEngineOptions());
  for (int i = 0; i < 20; ++i) {
    const auto sink = std::make_shared<CollectingSink>();
    const auto id = engine->Submit(LongRequest(), sink);
    if (i % 2 == 0) sink->WaitForToken();
    engine->Cancel(*id);
    sink->Wait().IgnoreError();  // it may have finished
  }
  engine->WaitUntilIdle(Instant::max());
  EXPECT_EQ(engine->GetLoad().kv_blocks_used, 0);
  EXPECT_EQ(engine->GetLoad().exit_cache_rows_used, 0);
}

}  // namespace
}  // namespace strata
